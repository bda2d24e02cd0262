"""Alerts and reports over the control API, and who gets them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.builders.control import make_environment
from tests.builders.http import with_key, with_session
from tests.builders.reports import FULL
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.monitoring.actions import MONITOR, clear_alert
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion

__all__ = ["no_services", "services"]

pytestmark = pytest.mark.usefixtures("charts")


def test_the_api_lists_alerts_of_what_the_caller_may_read(
    environment: Environment, raised: Callable[..., ModelAlert]
) -> None:
    alert = raised()
    clear_alert(actor=MONITOR, alert=raised("wind"), reason="calm")
    key = with_key(environment)
    (item,) = key.get("/alerts").body["items"]
    assert (item["id"], item["organization"], item["project"], item["environment"]) == (
        alert.public_id, "acme", "air", "dev",
    )  # fmt: skip
    assert (item["metric"], item["field"], item["rows"]["sql"]) == ("psi", "hour", "SELECT 7")
    states = {state: len(key.get(f"/alerts?state={state}").body["items"]) for state in ("raised", "cleared", "all")}
    assert states == {"raised": 1, "cleared": 1, "all": 2}
    assert key.get("/alerts?model=other").body["items"] == []
    assert key.get("/alerts?environment=prod").body["items"] == []
    assert key.get("/alerts?state=odd").status == 400
    page = key.get("/alerts?state=all&limit=1").body
    assert key.get(f"/alerts?state=all&limit=1&cursor={page['next']}").body["items"][0]["id"] != page["items"][0]["id"]
    other = make_environment("other")
    for stranger in (with_key(other), with_session(other), with_key(environment, "producer")):
        assert stranger.get("/alerts?state=all").body["items"] == []
    assert len(with_session(environment).get("/alerts").body["items"]) == 1


def test_the_api_gives_the_report_in_every_form(
    services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    key, session = with_key(environment), with_session(environment)
    whole = "/organizations/acme/projects/air/models/delay/versions/1/report"
    short = "/models/delay/versions/1/report"
    for address in (whole, short):
        answer = key.get(f"{address}?window=1h")
        assert (answer.status, answer.body["environment"], services.asked[-1]["minutes"]) == (200, "dev", ["60"])
        for suffix, kind in (("html", "text/html"), ("png", "image/png")):
            reply = key.client.get(f"/api/v1{address}.{suffix}", headers=key._headers)
            assert (reply.status_code, reply.headers["Content-Type"].partition(";")[0]) == (200, kind)
    assert session.get(whole).body["model"] == "delay"
    assert session.get(short).status == 400
    assert session.get(f"{short}?organization=acme&project=air").body["model"] == "delay"
    assert key.get(f"{short}?window=2h").status == 400
    assert key.get(f"{short}?environment=prod").status == 404
    assert key.get("/models/delay/versions/7/report").status == 404


def test_the_api_says_why_there_is_no_report(
    services: FakeServices, environment: Environment, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = with_key(environment)
    unknown = key.get("/models/delay/versions/1/report")
    assert (unknown.status, unknown.body["code"]) == (409, "conflict")
    monkeypatch.setattr(services, "answer", lambda *_: (500, {}))
    away = key.get("/models/delay/versions/1/report")
    assert (away.status, away.body["code"]) == (503, "services_unavailable")


def test_a_stranger_gets_no_report_by_the_short_address(environment: Environment, version: ModelVersion) -> None:
    other = make_environment("other")
    key, session = with_key(other), with_session(other)
    for suffix in ("", ".html", ".png"):
        short = f"/models/delay/versions/1/report{suffix}"
        assert key.get(short).status == 404
        for api in (key, session):
            assert api.get(f"{short}?organization=acme&project=air").status == 404
    assert with_key(environment, "producer").get("/models/delay/versions/1/report").status == 403
