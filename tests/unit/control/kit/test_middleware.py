from __future__ import annotations

import re
from typing import Any

import pytest
import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.test import Client, RequestFactory

from headwater.control.kit import middleware
from headwater.control.kit.requests import current_request


def respond(path: str, response: HttpResponseBase, **headers: str) -> HttpResponseBase:
    def view(_request: HttpRequest) -> HttpResponseBase:
        return response

    chain = middleware.request_context(middleware.security_headers(view))
    answer: HttpResponseBase = chain(RequestFactory().get(path, headers=headers))
    return answer


def test_a_page_loads_from_its_own_origin_alone() -> None:
    policy = respond("/", HttpResponse("<p>")).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; script-src 'self' 'nonce-")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


def test_the_nonce_differs_from_reply_to_reply() -> None:
    policies = {respond("/", HttpResponse("<p>")).headers["Content-Security-Policy"] for _ in range(3)}
    assert len(policies) == 3


def test_only_the_admin_may_evaluate() -> None:
    assert "'unsafe-eval'" in respond("/admin/x/", HttpResponse("<p>")).headers["Content-Security-Policy"]
    assert "'unsafe-inline'" not in respond("/admin/", HttpResponse()).headers["Content-Security-Policy"].split(";")[1]


def test_data_may_load_nothing_and_a_view_may_say_otherwise() -> None:
    assert respond("/api/v1/x", JsonResponse({})).headers["Content-Security-Policy"].startswith("default-src 'none'")
    own = HttpResponse(headers={"Content-Security-Policy": "default-src 'self'"})
    assert respond("/api/v1/docs", own).headers["Content-Security-Policy"] == "default-src 'self'"


def test_where_cookies_are_secure_browsers_are_told_to_stay_with_https(settings: Any) -> None:
    assert "Strict-Transport-Security" not in respond("/", HttpResponse()).headers
    settings.SESSION_COOKIE_SECURE = True
    assert respond("/", HttpResponse()).headers["Strict-Transport-Security"] == "max-age=31536000"


def test_the_key_that_resets_a_password_is_not_logged() -> None:
    with structlog.testing.capture_logs() as lines:
        respond("/accounts/password/reset/key/1-c0ffee-secret/", HttpResponse())
        respond("/accounts/password/reset/", HttpResponse())
    paths = [line["path"] for line in lines]
    assert paths == ["/accounts/password/reset/key/[redacted]/", "/accounts/password/reset/"]


def test_requests_are_counted(db: None) -> None:
    client = Client(headers={"Host": "127.0.0.1"})
    client.get("/nowhere/")
    text = client.get("/metrics").content.decode()
    assert 'headwater_control_requests_total{method="GET",status="404"}' in text
    assert "headwater_control_outbox_waiting_events 0.0" in text


@pytest.mark.parametrize("given", ["req_12345678", "a" * 100])
def test_a_sane_request_id_is_kept(given: str) -> None:
    assert respond("/", HttpResponse(), **{"Hw-Request-Id": given}).headers["Hw-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "short", "a" * 101, "has space here", "quote\"quote'"])
def test_any_other_gets_a_new_one(given: str) -> None:
    headers = {"Hw-Request-Id": given} if given else {}
    assert re.fullmatch(r"req_[0-9A-Z]{26}", respond("/", HttpResponse(), **headers).headers["Hw-Request-Id"])


def test_the_request_is_known_while_it_is_served_and_forgotten_afterwards() -> None:
    seen = []

    def view(_request: HttpRequest) -> HttpResponse:
        seen.append(current_request())
        return HttpResponse()

    middleware.request_context(view)(RequestFactory().get("/", headers={"Hw-Request-Id": "req_12345678"}))
    assert (seen[0].request_id, seen[0].ip) == ("req_12345678", "127.0.0.1")
    assert current_request().request_id == ""


@pytest.mark.parametrize("path", ["unfold/js/alpine/alpine.js", "unfold/css/styles.css", "admin/js/core.js"])
def test_packages_static_files_are_served_without_being_collected(db: None, path: str) -> None:
    reply = Client(headers={"Host": "127.0.0.1"}).get(f"/static/{path}")
    assert reply.status_code == 200
    assert reply.getvalue()


def test_readiness_says_what_is_missing(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.control.kit import health

    client = Client(headers={"Host": "127.0.0.1"})
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    monkeypatch.setattr(health, "find_problems", lambda: ["3 migrations are not applied"])
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["problems"]) == (503, ["3 migrations are not applied"])
