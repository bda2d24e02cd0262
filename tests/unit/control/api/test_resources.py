"""What the control API does to organisations, keys, datasets, endpoints and models."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.test import Client
from tests.builders.control import make_user, newest_snapshot
from tests.builders.http import Api, environment_path, project_path, with_key, with_session
from tests.builders.onnx_models import linear
from tests.builders.projects import DELAY_MODEL, WORST, flights

from headwater.control.api.artifacts import admit
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


def body(environment: Environment, **more: Any) -> dict[str, Any]:
    resources = {
        "datasets": [{"source": "datasets/flights.yaml", "text": flights()}],
        "endpoints": [{"source": "endpoints/worst.sql", "text": WORST}],
    }
    return {"project": environment.project.slug, "environment": environment.key, "resources": resources} | more


@pytest.fixture
def api(environment: Environment) -> Api:
    return with_session(environment)


def test_a_project_is_planned_and_applied_with_a_key(environment: Environment) -> None:
    api = with_key(environment)
    plan = api.post("/apply", body(environment, dry_run=True))
    assert plan.body["dry_run"]
    assert newest_snapshot(environment).datasets == {}
    answer = api.post("/apply", body(environment))
    assert [(change["name"], change["action"]) for change in answer.body["changes"]] == [
        ("flights", "create"),
        ("worst", "create"),
    ]
    assert answer.body["snapshot"] == newest_snapshot(environment).number
    again = api.post("/apply", body(environment))
    assert {change["action"] for change in again.body["changes"]} == {"unchanged"}


def test_a_broken_project_answers_every_error(environment: Environment) -> None:
    broken = body(environment)
    broken["resources"]["datasets"][0]["text"] = "nonsense"
    answer = with_key(environment).post("/apply", broken)
    assert (answer.status, answer.body["code"]) == (422, "project_invalid")
    assert {error["source"] for error in answer.body["errors"]} == {"datasets/flights.yaml", "endpoints/worst.sql"}
    assert set(answer.body["errors"][0]) == {"source", "path", "message"}


def test_a_producer_key_applies_nothing(environment: Environment) -> None:
    answer = with_key(environment, "producer").post("/apply", body(environment))
    assert (answer.status, answer.body["code"]) == (403, "forbidden")


def test_an_artifact_is_put_by_its_digest_and_a_model_applied_with_it(environment: Environment) -> None:
    api = with_key(environment)
    artifact = linear([1.0, 2.0])
    sha256 = hashlib.sha256(artifact).hexdigest()
    assert api("PUT", f"/artifacts/{sha256}", artifact).body == {"sha256": sha256, "size": len(artifact)}
    assert api("PUT", f"/artifacts/{sha256}", artifact).status == 200
    wrong = api("PUT", f"/artifacts/{'0' * 64}", artifact)
    assert (wrong.status, wrong.body["code"]) == (400, "digest_mismatch")
    assert api("PUT", f"/artifacts/{sha256}", b"").body["code"] == "empty_body"
    models = [{"source": "models/delay/model.yaml", "text": DELAY_MODEL, "artifact_sha256": sha256}]
    assert api.post("/apply", body(environment, resources={"models": models})).status == 200
    model = api.get(project_path(environment, "models/delay")).body
    assert model["routes"] == {"dev": [{"version": 1, "role": "primary", "weight_bps": 10_000}]}
    assert model["aliases"] == {"champion": 1}
    version = api.get(project_path(environment, "models/delay/versions/1")).body
    assert version["artifact_sha256"] == sha256
    routes = {"environment": "dev", "routes": [{"version": 1, "weight_bps": 5_000}]}
    assert api("PUT", project_path(environment, "models/delay/routes"), routes).body["code"] == "invalid_parameter"
    promoted = api.post(project_path(environment, "models/delay/versions/1/promote"), {"environment": "dev"})
    assert promoted.status == 200
    assert api.get(project_path(environment, "models/nothing")).body["code"] == "model_not_found"


def test_an_analyst_puts_no_artifact(environment: Environment) -> None:
    content = b"x"
    path = f"/artifacts/{hashlib.sha256(content).hexdigest()}"
    assert with_session(environment, "analyst")("PUT", path, content).status == 403


def scope_with(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "method": "PUT", "path": "/api/v1/artifacts/x", "query_string": b"", "headers": headers}


@pytest.mark.parametrize(("role", "code"), [("developer", None), ("analyst", "forbidden"), (None, "unauthenticated")])
@pytest.mark.parametrize("by", ["key", "session"])
def test_who_may_put_artifacts_is_known_from_the_headers_alone(
    environment: Environment, role: str | None, code: str | None, by: str
) -> None:
    if role is None:
        header = (b"authorization", b"Bearer hw_none") if by == "key" else (b"cookie", b"hw_session=none")
    elif by == "key":
        header = (b"authorization", with_key(environment, role)._headers["Authorization"].encode())
    else:
        cookies = with_session(environment, role).client.cookies
        header = (b"cookie", f"hw_session={cookies['hw_session'].value}".encode())
    if code is None:
        admit(scope_with(header))
        return
    with pytest.raises(HeadwaterError) as caught:
        admit(scope_with(header))
    assert caught.value.code == code


def test_a_key_is_shown_once_and_revoked(environment: Environment, api: Api) -> None:
    path = environment_path(environment, "keys")
    made = api.post(path, {"name": "mine", "scopes": ["dataset.read"]})
    assert made.status == 201
    text = made.body["key"]
    assert text.startswith(made.body["prefix"])
    listed = api.get(path)
    assert text not in str(listed.body)
    holder = Api(Client(), {"Authorization": f"Bearer {text}"})
    assert holder.get(environment_path(environment)).body["key"] == "dev"
    assert holder.get(project_path(environment, "datasets")).status == 200
    revoked = api.post(f"{path}/{made.body['id']}/revoke", {"reason": "test"})
    assert revoked.body["revoked_at"]
    assert holder.get(project_path(environment, "datasets")).status == 401


def test_a_service_account_gets_a_role_and_a_key(environment: Environment, api: Api) -> None:
    made = api.post(project_path(environment, "service-accounts"), {"name": "loader", "role": "producer"})
    assert made.status == 201
    key = api.post(environment_path(environment, "keys"), {"name": "k", "service_account": "loader"})
    assert key.body["principal"] == "loader"
    disabled = api.post(project_path(environment, "service-accounts/loader/disable"), {"reason": "done"})
    assert disabled.body["disabled_at"]
    unknown = api.post(environment_path(environment, "keys"), {"name": "k", "service_account": "nobody"})
    assert unknown.status == 404


def test_a_dataset_goes_from_draft_to_active_to_archived(environment: Environment, api: Api) -> None:
    path = project_path(environment, "datasets")
    assert api.post(path, {"text": flights()}).body["active"] == {}
    activated = api.post(f"{path}/flights/contracts/1.0.0/activate", {"environment": "dev", "reason": "go"})
    assert activated.body["state"] == "active"
    assert api.get(f"{path}/flights").body["active"] == {"dev": "1.0.0"}
    assert api.get(f"{path}/flights/contracts/1.0.0").body["source"] == flights()
    assert api.post(f"{path}/flights/contracts/1.0.0/retire").body["code"] == "conflict"
    assert api.post(f"{path}/flights/archive").body["archived_at"]
    assert newest_snapshot(environment).datasets["flights"].archived
    assert api.post(f"{path}/flights/restore").body["archived_at"] is None
    assert api.get(f"{path}/planes").body["code"] == "dataset_not_found"


def test_a_change_on_top_of_an_old_revision_is_a_conflict(environment: Environment, api: Api) -> None:
    path = project_path(environment, "datasets")
    seen = api.post(path, {"text": flights()}).body["revision"]
    assert api("PATCH", f"{path}/flights", {"description": "a", "revision": seen}).body["revision"] == seen + 1
    stale = api("PATCH", f"{path}/flights", {"description": "b", "revision": seen})
    assert (stale.status, stale.body["code"]) == (409, "conflict")
    assert api.get(f"{path}/flights").body["description"] == "a"


def test_endpoints_show_their_revisions_newest_first(environment: Environment, api: Api) -> None:
    api.post("/apply", body(environment))
    changed = body(environment)
    changed["resources"]["endpoints"][0]["text"] = WORST.replace("max(", "min(")
    api.post("/apply", changed)
    path = environment_path(environment, "endpoints")
    assert [item["name"] for item in api.get(path).body["items"]] == ["worst"]
    revisions = api.get(f"{path}/worst/revisions").body["items"]
    assert [item["number"] for item in revisions] == [2, 1]
    assert api.post(f"{path}/worst/archive").body["archived_at"]
    assert newest_snapshot(environment).endpoints == {}


def test_pages_follow_each_other_without_gaps_or_repeats(environment: Environment, api: Api) -> None:
    path = project_path(environment, "service-accounts")
    names = [f"account-{n}" for n in range(5)]
    for name in names:
        api.post(path, {"name": name})
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"{path}?limit=2" + (f"&cursor={cursor}" if cursor else "")).body
        seen += [item["name"] for item in page["items"]]
        cursor = page["next"]
    assert seen == names


def test_members_are_invited_and_given_roles(environment: Environment, api: Api) -> None:
    user = make_user("new@example.com")
    path = f"/organizations/{environment.org.slug}/members"
    made = api.post(path, {"email": "New@example.com", "role": "analyst"})
    assert (made.status, made.body["status"], made.body["roles"]) == (201, "invited", ["analyst"])
    changed = api("PATCH", f"{path}/{made.body['id']}", {"role": "developer", "status": "active"})
    assert (changed.body["status"], changed.body["roles"]) == ("active", ["developer"])
    assert api.post(path, {"email": "nobody@example.com", "role": "analyst"}).status == 404
    assert api.post(path, {"email": user.email, "role": "analyst"}).body["code"] == "conflict"


def test_organisations_projects_and_environments(environment: Environment, api: Api) -> None:
    slug = environment.org.slug
    assert api("PATCH", f"/organizations/{slug}", {"name": "Acme Air"}).body["name"] == "Acme Air"
    assert api("PATCH", f"/organizations/{slug}", {"name": "x", "revision": 1}).status == 409
    assert api.post(f"/organizations/{slug}/projects", {"slug": "rail"}).status == 201
    made = api.post(f"/organizations/{slug}/projects/rail/environments", {"key": "prod", "protected": True})
    assert (made.status, made.body["protected"]) == (201, True)
    again = api.post(f"/organizations/{slug}/projects", {"slug": "rail"})
    assert (again.status, again.body["code"]) == (409, "conflict")
    assert len(api.get(f"/organizations/{slug}/projects").body["items"]) == 2


def test_the_audit_log_is_searched(environment: Environment, api: Api) -> None:
    api.post("/apply", body(environment))
    path = f"/organizations/{environment.org.slug}/audit"
    found = api.get(f"{path}?action=catalog.contract").body["items"]
    assert [item["action"] for item in found] == ["catalog.contract.activated", "catalog.contract.drafted"]
    assert api.get(f"{path}?target={found[0]['target']['id']}").body["items"]
    assert api.get(f"{path}?until=2000-01-01T00:00:00Z").body["items"] == []
    assert api.get(f"{path}/chain").body["whole"]


def test_a_snapshot_is_shown_with_what_nodes_say(environment: Environment, api: Api) -> None:
    api.post("/apply", body(environment))
    shown = api.get(environment_path(environment, "snapshot")).body
    assert shown["number"] == newest_snapshot(environment).number
    assert shown["acks"] == []
