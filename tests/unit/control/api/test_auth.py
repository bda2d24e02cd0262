"""Who may call the control API, and how refusals look."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DataError, OperationalError
from django.test import Client
from tests.builders.control import make_account, make_key, make_user
from tests.builders.http import Api, environment_path, project_path, with_key, with_session

from headwater.control.access.actions import revoke_key
from headwater.control.api.caller import Caller
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment


def test_without_credentials_the_answer_says_how_to_send_them(environment: Environment) -> None:
    answer = Api(Client()).get("/organizations")
    assert (answer.status, answer.body["code"]) == (401, "unauthenticated")
    assert "Bearer hw_" in answer.body["hint"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.body["request_id"] == answer.headers["Hw-Request-Id"]


@pytest.mark.parametrize("token", ["", "hw_", "hw_aaaaaaaa_bbbb", "x" * 5_000])
def test_a_bad_key_never_falls_back_to_the_session(environment: Environment, token: str) -> None:
    api = with_session(environment)
    answer = api("GET", "/organizations", Authorization=f"Bearer {token}")
    assert (answer.status, answer.body["code"]) == (401, "unauthenticated")


def test_a_revoked_key_opens_nothing(environment: Environment) -> None:
    key, text = make_key(environment)
    api = Api(Client(), {"Authorization": f"Bearer {text}"})
    assert api.get("/organizations").status == 200
    revoke_key(actor=SYSTEM, key=key)
    assert api.get("/organizations").status == 401


def test_writing_by_session_needs_the_csrf_token(environment: Environment) -> None:
    api = with_session(environment)
    api.client.handler.enforce_csrf_checks = True
    path = project_path(environment, "service-accounts")
    answer = api.post(path, {"name": "loader"})
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
    assert "X-CSRFToken" in answer.body["hint"]
    token = "a" * 32
    api.client.cookies["hw_csrf"] = token
    assert api("POST", path, {"name": "loader"}, **{"X-CSRFToken": token}).status == 201
    assert api.get(path).status == 200


def test_writing_by_key_needs_no_csrf_token(environment: Environment) -> None:
    api = with_key(environment, "owner")
    api.client.handler.enforce_csrf_checks = True
    assert api.post(project_path(environment, "service-accounts"), {"name": "loader"}).status == 201


def test_a_member_without_the_permission_is_refused_with_its_name(environment: Environment) -> None:
    answer = with_session(environment, "analyst").get(environment_path(environment, "keys"))
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
    assert "key.read" in answer.body["detail"]


def test_somebody_who_belongs_nowhere_sees_nothing(environment: Environment) -> None:
    client = Client()
    client.force_login(make_user())
    api = Api(client)
    assert api.get("/organizations").body == {"items": [], "next": None}
    assert api.get(f"/organizations/{environment.org.slug}").status == 404


def test_a_suspended_member_sees_nothing(environment: Environment) -> None:
    api = with_session(environment)
    other = with_session(environment)
    members = api.get(f"/organizations/{environment.org.slug}/members").body["items"]
    target = members[-1]
    path = f"/organizations/{environment.org.slug}/members/{target['id']}"
    assert api("PATCH", path, {"status": "suspended", "reason": "left"}).body["status"] == "suspended"
    assert other.get(f"/organizations/{environment.org.slug}").status == 404


def test_bad_json_and_bad_fields_are_named(environment: Environment) -> None:
    api = with_session(environment)
    path = project_path(environment, "service-accounts")
    broken = api.client.post(f"/api/v1{path}", b"{", content_type="application/json")
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_body")
    answer = api.post(path, {"name": "Not A Slug"})
    assert (answer.status, answer.body["code"]) == (400, "invalid_parameter")
    assert answer.body["errors"][0]["path"] == "body/name"
    answer = api.get(path + "?limit=0")
    assert answer.body["errors"][0]["path"] == "query/limit"
    answer = api.get(path + "?cursor=nonsense")
    assert (answer.status, "cursor" in answer.body["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"expires_at": "2027-01-01T00:00:00"}, "timezone"),
        ({"name": "a\x00b"}, "NUL"),
        ({"scopes": ["dataset.read:" + "x" * 200]}, "200"),
    ],
)
def test_a_key_is_asked_for_properly(environment: Environment, wrong: dict[str, Any], named: str) -> None:
    make_account(environment.project, "loader")
    api = with_session(environment)
    path = environment_path(environment, "keys")
    answer = api.post(path, {"name": "k", "service_account": "loader"} | wrong)
    assert (answer.status, answer.body["code"]) == (400, "invalid_parameter")
    assert named in answer.body["detail"]
    assert api.get(path).body["items"] == []


def test_what_the_database_cannot_store_or_look_for_is_the_callers_mistake(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = with_session(environment)

    def refuse(*_: object) -> None:
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes\nCONTEXT: inside")

    monkeypatch.setattr(Caller, "organizations", refuse)
    answer = api.get("/organizations")
    assert (answer.status, answer.body["code"]) == (400, "invalid_parameter")
    assert "NUL" in answer.body["detail"]
    assert "inside" not in answer.body["detail"]


def test_a_body_that_is_too_large_and_a_busy_database_are_no_mystery(
    environment: Environment, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = with_session(environment)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
    answer = api.post(project_path(environment, "service-accounts"), {"name": "x" * (2 << 20)})
    assert (answer.status, answer.body["code"]) == (413, "payload_too_large")

    def busy(*_: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(Caller, "organizations", busy)
    answer = api.get("/organizations")
    assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (503, "overloaded", "1")


def test_unknown_addresses_and_methods_are_problems_too(environment: Environment) -> None:
    api = with_session(environment)
    answer = api.get("/nowhere/at/all")
    assert (answer.status, answer.body["code"]) == (404, "not_found")
    answer = api("DELETE", "/organizations")
    assert (answer.status, answer.body["code"], answer.headers["Allow"]) == (405, "method_not_allowed", "GET")


def test_the_documentation_needs_nothing_from_elsewhere(environment: Environment) -> None:
    client = Client()
    page = client.get("/api/v1/docs").content.decode()
    assert "//cdn" not in page
    assert "http" not in page.split("<body", 1)[0]
    document = client.get("/api/v1/openapi.json").json()
    assert "/api/v1/apply" in document["paths"]
    assert {"KeyAuth", "SessionAuth"} <= set(document["components"]["securitySchemes"])
