"""The registry over the control API: push, check, approve, serve, roll back, look things up."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from tests.builders.control import newest_snapshot
from tests.builders.http import Api, project_path, with_key, with_session
from tests.builders.onnx_models import linear
from tests.builders.projects import DELAY_MODEL

from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.actions import change_protection
from headwater.control.orgs.models import Environment

PAPERS = "license: MIT\ntraining: {dataset: flights, version: 3, code: 9f2c, rows: 10}\n"


@pytest.fixture
def api(environment: Environment) -> Api:
    return with_key(environment)


@pytest.fixture
def models(environment: Environment) -> str:
    return project_path(environment, "models")


def push(api: Api, models: str, *weights: float, text: str = DELAY_MODEL + PAPERS, **more: Any) -> Any:
    artifact = linear(list(weights))
    sha256 = hashlib.sha256(artifact).hexdigest()
    assert api("PUT", f"/artifacts/{sha256}", artifact).status == 200
    return api.post(models, {"environment": "dev", "text": text, "artifact_sha256": sha256, **more})


def test_a_model_is_pushed_artifact_first(api: Api, models: str, environment: Environment) -> None:
    pushed = push(api, models, 1.0, 2.0)
    assert pushed.status == 201
    assert (pushed.body["model"], pushed.body["version"], pushed.body["created"]) == ("delay", 1, True)
    assert pushed.body["routes"] == [{"version": 1, "role": "primary", "weight_bps": 10_000}]
    assert {check["name"]: check["status"] for check in pushed.body["checks"]}["license"] == "passed"
    again = push(api, models, 1.0, 2.0)
    assert (again.status, again.body["created"], again.body["version"]) == (200, False, 1)
    missing = api.post(models, {"environment": "dev", "text": DELAY_MODEL, "artifact_sha256": "0" * 64})
    assert (missing.status, missing.body["code"]) == (422, "project_invalid")
    assert "PUT /api/v1/artifacts/" in missing.body["errors"][0]["message"]
    assert with_key(environment, "producer").post(models, {"environment": "dev", "text": ""}).status == 403


def test_whether_an_artifact_is_there_can_be_asked(api: Api) -> None:
    artifact = linear([1.0, 2.0])
    path = f"/artifacts/{hashlib.sha256(artifact).hexdigest()}"
    api("PUT", path, artifact)
    assert api.get(path).body["size"] == len(artifact)
    assert api.get(f"/artifacts/{'0' * 64}").status == 404


def test_traffic_is_shared_and_taken_back(api: Api, models: str) -> None:
    push(api, models, 1.0, 2.0)
    assert push(api, models, 3.0, 4.0, hold=True).body["routes"][0]["version"] == 1
    body = {"environment": "dev", "role": "canary", "weight_bps": 1_000, "reason": "try"}
    tried = api.post(f"{models}/delay/versions/2/promote", body).body
    assert tried["aliases"] == ["challenger"]
    assert tried["changes"] == [
        "version 1: primary 100 %, now primary 90 %",
        "version 2: not served, now canary 10 %",
        "challenger: nothing, now version 2",
    ]
    (deployment,) = api.get(f"{models}/delay/deployments").body["items"]
    assert (deployment["environment"], deployment["champion"], deployment["rollout"]) == ("dev", 1, 2)
    assert {route["version"]: route["weight_bps"] for route in deployment["routes"]} == {1: 9_000, 2: 1_000}
    rolled = api.post(f"{models}/delay/rollback", {"environment": "dev", "reason": "errors"})
    assert (rolled.body["cause"], rolled.body["champion"], rolled.body["reason"]) == ("rolled_back", 1, "errors")
    assert "version 2: canary 10 %, now not served" in rolled.body["changes"]
    nothing = api.post(f"{models}/delay/rollback", {"environment": "dev"})
    assert (nothing.status, nothing.body["code"]) == (409, "conflict")
    rollouts = api.get(f"{models}/delay/rollouts?environment=dev&limit=2").body
    assert [item["number"] for item in rollouts["items"]] == [3, 2]
    older = api.get(f"{models}/delay/rollouts?environment=dev&limit=2&cursor={rollouts['next']}").body
    assert [item["number"] for item in older["items"]] == [1]


def test_rules_are_read_strictly(api: Api, models: str, environment: Environment) -> None:
    push(api, models, 1.0, 2.0)
    path = f"{models}/delay/rules"
    wrong = api("PUT", path, {"environment": "dev", "rules": {"log": {"sample_bps": 20_000}}})
    assert (wrong.status, wrong.body["code"]) == (400, "invalid_parameter")
    assert "rules.log.sample_bps" in wrong.body["detail"]
    answer = api("PUT", path, {"environment": "dev", "rules": {"cache_entries": 100}, "reason": "repeats"})
    assert answer.body[0]["rules"]["cache_entries"] == 100
    assert newest_snapshot(environment).models["delay"].serving.cache_entries == 100


def test_an_approval_needs_somebody_else_and_a_reason(api: Api, models: str, environment: Environment) -> None:
    change_protection(actor=SYSTEM, environment=environment, protected=True)
    assert push(api, models, 1.0, 2.0).body["routes"] == []
    path = f"{models}/delay/versions/1"
    assert api.post(f"{path}/approve", {"reason": "mine"}).body["code"] == "forbidden"
    colleague = with_session(environment, "developer")
    assert colleague.post(f"{path}/approve").body["code"] == "invalid_parameter"
    approved = colleague.post(f"{path}/approve", {"reason": "compared on May"})
    assert approved.body["state"] == "approved"
    assert approved.body["approvals"][0]["reason"] == "compared on May"
    assert api.post(f"{path}/promote", {"environment": "dev"}).status == 200


def test_failed_checks_are_listed_and_overridden(api: Api, models: str, environment: Environment) -> None:
    push(api, models, 1.0, 2.0, text=DELAY_MODEL)
    path = f"{models}/delay/versions/1"
    colleague = with_session(environment)
    refused = colleague.post(f"{path}/approve", {"reason": "fine"})
    assert (refused.status, sorted(refused.body["failed"])) == (409, ["license", "training_data"])
    checks = api.post(f"{path}/checks").body
    assert [check["name"] for check in checks if check["status"] == "failed"] == ["license", "training_data"]
    done = colleague.post(f"{path}/approve", {"reason": "ours", "override": True})
    assert sorted(done.body["approvals"][0]["overridden"]) == ["license", "training_data"]


def test_aliases_and_tags_are_set_and_removed(api: Api, models: str) -> None:
    push(api, models, 1.0, 2.0)
    named = api("PUT", f"{models}/delay/aliases/stable", {"version": 1, "reason": "calm"})
    assert named.body["aliases"] == {"champion": 1, "stable": 1}
    assert api("DELETE", f"{models}/delay/aliases/stable").body["aliases"] == {"champion": 1}
    assert api("DELETE", f"{models}/delay/aliases/stable").body["code"] == "not_found"
    moves = api.get(f"{models}/delay/alias-moves").body["items"]
    assert [(move["alias"], move["version"]) for move in moves] == [("stable", None), ("stable", 1), ("champion", 1)]
    tagged = api("PATCH", f"{models}/delay/versions/1/tags", {"tags": {"team": "ops"}})
    assert tagged.body["tags"] == {"team": "ops"}
    assert api("PATCH", f"{models}/delay/tags", {"tags": {"team": "ops"}}).body["tags"] == {"team": "ops"}


def test_lineage_answers_who_was_trained_on_a_dataset(api: Api, models: str, environment: Environment) -> None:
    push(api, models, 1.0, 2.0)
    push(api, models, 3.0, 4.0)
    lineage = project_path(environment, "lineage")
    found = api.get(f"{lineage}?dataset=flights").body["items"]
    assert [(item["model"], item["version"], item["table_version"]) for item in found] == [
        ("delay", 2, 3),
        ("delay", 1, 3),
    ]
    assert api.get(f"{lineage}?dataset=planes").body["items"] == []
    assert api.get(f"{lineage}?view=weather").body["items"] == []
    detail = api.get(f"{models}/delay/versions/2").body
    assert (detail["training"]["code"], detail["lineage"][0]["name"]) == ("9f2c", "flights")


def test_each_version_says_where_its_report_is_read(api: Api, models: str) -> None:
    push(api, models, 1.0, 2.0)
    addresses = [
        api.get(f"{models}/delay/versions/1").body["report_url"],
        api.get(f"{models}/delay/versions").body["items"][0]["report_url"],
    ]
    assert len(set(addresses)) == 1
    assert addresses[0].startswith("http")
    assert addresses[0].endswith("/report/")


def test_an_archived_version_is_out_of_use(api: Api, models: str) -> None:
    push(api, models, 1.0, 2.0)
    push(api, models, 3.0, 4.0)
    refused = api.post(f"{models}/delay/versions/2/archive", {"reason": "old"})
    assert (refused.status, refused.body["code"]) == (409, "conflict")
    assert "served in air/dev and called @champion" in refused.body["detail"]
    assert api.post(f"{models}/delay/versions/1/archive", {"reason": "old"}).body["state"] == "archived"
    assert api.post(f"{models}/delay/versions/1/promote", {"environment": "dev"}).status == 409
    assert api.get(f"{models}/delay").body["newest"] == 2
