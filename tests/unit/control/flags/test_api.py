"""Flags through the control API: everything the pages do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from tests.builders.control import make_account, make_environment, make_key, newest_snapshot

from headwater.control.orgs.models import Environment


class Api:
    """The control API as the holder of a key sees it."""

    def __init__(self, environment: Environment, role: str = "developer") -> None:
        account = make_account(environment.project, f"{role}-bot", role=role)
        _key, self.text = make_key(environment, account)
        self.base = f"/api/v1/organizations/{environment.org.slug}/projects/{environment.project.slug}"
        self.here = f"{self.base}/environments/{environment.key}"

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        response = Client().generic(
            method, path, json.dumps(body) if body is not None else b"", "application/json",
            headers={"authorization": f"Bearer {self.text}"},
        )  # fmt: skip
        return response.status_code, json.loads(response.content) if response.content else None


NEW = {"key": "new-home", "owner": "a team", "remove_by": "2027-01-01", "description": "The new home page"}


@pytest.fixture
def api(environment: Environment) -> Api:
    return Api(environment)


def test_a_flag_is_made_changed_switched_and_archived(api: Api, environment: Environment) -> None:
    status, made = api("POST", f"{api.base}/flags", NEW)
    assert (status, made["variants"], made["off"], made["revision"]) == (201, {"on": True, "off": False}, "off", 1)
    path = f"{api.here}/flags/new-home"
    rules = [{"when": "country = 'DE'", "variant": "on", "share": "25%"}]
    status, dry = api("PATCH", path, {"rules": rules, "dry_run": True})
    assert (status, dry["changes"]) == (200, ["rule 1 added: 25% of those where country = 'DE' gets on"])
    assert api("GET", path)[1]["rules"] == []
    status, changed = api("PATCH", path, {"rules": rules, "reason": "first try", "revision": 1})
    assert (status, changed["config"]["revision"], changed["config"]["rules"]) == (200, 2, rules)
    assert api("PATCH", path, {"enabled": True, "revision": 1})[0] == 409
    assert api("POST", f"{path}/toggle", {"enabled": True})[1]["enabled"] is True
    assert newest_snapshot(environment).flags["new-home"].enabled
    assert [item["enabled"] for item in api("GET", f"{api.here}/flags")[1]["items"]] == [True]
    status, patched = api("PATCH", f"{api.base}/flags/new-home", {"owner": "another", "revision": 1})
    assert (status, patched["owner"], patched["description"]) == (200, "another", "The new home page")
    assert api("POST", f"{api.base}/flags/new-home/archive", {"reason": "done"})[1]["archived_at"]
    assert api("GET", f"{api.base}/flags")[1]["items"] == []
    assert [flag["key"] for flag in api("GET", f"{api.base}/flags?archived=true")[1]["items"]] == ["new-home"]
    assert api("POST", f"{api.base}/flags/new-home/restore", {})[1]["archived_at"] is None


def test_asking_says_which_rule_decides(api: Api) -> None:
    api("POST", f"{api.base}/flags", NEW)
    path = f"{api.here}/flags/new-home"
    api("PATCH", path, {"enabled": True, "rules": [{"when": "country = 'DE'", "variant": "on"}]})
    status, answer = api("POST", f"{path}/evaluate", {"context": {"country": "DE"}})
    assert (status, answer["value"], answer["variant"], answer["reason"]) == (200, True, "on", "TARGETING_MATCH")
    assert answer["steps"][-1] == {"what": "rule 1", "result": "decided", "why": "country = 'DE' holds: on"}
    assert api("POST", f"{path}/evaluate", {"context": {"targetingKey": 3}})[0] == 400
    assert api("POST", f"{api.here}/flags/gone/evaluate", {})[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"rules": [{"when": "country =", "variant": "on"}]}, 422),
        ({"rules": [{"variant": "blue"}]}, 422),
        ({"rules": [{"variant": "on", "share": "200%"}]}, 400),
        ({"colour": "red"}, 400),
        ({"from": "2026-01-01T00:00:00"}, 400),
    ],
)
def test_bad_changes_are_refused_and_change_nothing(api: Api, body: dict[str, Any], status: int) -> None:
    api("POST", f"{api.base}/flags", NEW)
    path = f"{api.here}/flags/new-home"
    answered, problem = api("PATCH", path, body)
    assert answered == status
    assert problem["errors"]
    assert api("GET", path)[1]["revision"] == 1


def test_stale_flags_and_usage_are_listed(api: Api) -> None:
    api("POST", f"{api.base}/flags", NEW | {"remove_by": "2020-01-01"})
    status, page = api("GET", f"{api.here}/stale-flags")
    (stale,) = page["items"]
    assert (status, stale["key"], stale["reasons"]) == (200, "new-home", ["it was to be removed by 2020-01-01"])
    assert api("GET", f"{api.here}/stale-flags?days=0")[0] == 400
    assert api("GET", f"{api.here}/flags/new-home/usage") == (200, {"items": [], "next": None})


def test_an_analyst_reads_and_changes_nothing(api: Api, environment: Environment) -> None:
    api("POST", f"{api.base}/flags", NEW)
    analyst = Api(environment, "analyst")
    assert analyst("GET", f"{api.here}/flags/new-home")[0] == 200
    for method, path, body in (
        ("POST", f"{api.base}/flags", NEW | {"key": "mine"}),
        ("PATCH", f"{api.here}/flags/new-home", {"enabled": True}),
        ("PATCH", f"{api.here}/flags/new-home", {"enabled": True, "dry_run": True}),
        ("POST", f"{api.here}/flags/new-home/toggle", {"enabled": True}),
        ("PATCH", f"{api.base}/flags/new-home", {"owner": "me"}),
        ("POST", f"{api.base}/flags/new-home/archive", {}),
    ):
        assert analyst(method, path, body)[0] == 403, (method, path)


def test_flags_of_another_organisation_do_not_exist(api: Api, environment: Environment) -> None:
    api("POST", f"{api.base}/flags", NEW)
    stranger = Api(make_environment("globex"), "owner")
    assert stranger("GET", f"{api.base}/flags/new-home")[0] == 404
    assert stranger("POST", f"{api.here}/flags/new-home/toggle", {"enabled": True})[0] == 404
