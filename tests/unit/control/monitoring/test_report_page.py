"""The report of a version: what the page shows, to whom, and what it says when something is missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from tests.builders.control import make_environment, make_member, make_user
from tests.builders.http import with_key, with_session
from tests.builders.registry import make_model, make_version
from tests.builders.reports import category, nothing, number, performance, report, shadow
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.identity.actions import change_staff
from headwater.control.kit.actions import SYSTEM
from headwater.control.monitoring import drawing, export
from headwater.control.monitoring.actions import MONITOR, clear_alert, raise_alert
from headwater.control.monitoring.links import report_link
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import promote_version
from headwater.control.registry.models import ModelVersion
from headwater.engines.charts.renderer import ChartFailed
from headwater.engines.monitoring.alerts import Reading

__all__ = ["no_services", "services"]

EVIL = "<script>alert(1)</script>"
ROWS = {"dataset": "predictions_delay", "sql": "SELECT 7", "rows": "some rows"}
FULL = report(
    number("distance"),
    number("hour", psi=0.6),
    number("never", psi=None),
    category("carrier", psi=0.15),
    number("score", side="output", psi=0.3),
    errors=1,
    performance=performance(),
    shadow=shadow(),
)


class StandIn:
    """Draws without a JavaScript engine: the specification's data and texts as SVG text."""

    def __init__(self) -> None:
        self.problem = ""

    def draw(self, specs: list[Any]) -> list[str | ChartFailed]:
        if self.problem:
            return [ChartFailed(self.problem) for _ in specs]
        head = '<svg xmlns="http://www.w3.org/2000/svg" width="460" height="190">'
        return [f'{head}<rect fill="#0b6e8f"/><text>{len(json.dumps(spec))}</text></svg>' for spec in specs]

    def rasterize(self, svg: str, *, scale: float) -> bytes:
        if self.problem:
            raise ChartFailed(self.problem)
        assert scale > 1
        return b"\x89PNG" + svg.encode()


@pytest.fixture(autouse=True)
def charts(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(drawing, "RENDERER", stand_in)
    monkeypatch.setattr(export, "RENDERER", stand_in)
    return stand_in


@pytest.fixture
def version(environment: Environment) -> ModelVersion:
    made = make_version(make_model(environment))
    promote_version(actor=SYSTEM, version=made, environment=environment)
    return made


@pytest.fixture
def operator(environment: Environment) -> Client:
    client = Client()
    client.force_login(make_user("root@example.com", is_admin=True))
    return client


def staff_of(environment: Environment, role: str = "analyst") -> Client:
    member = make_member(environment.org, role)
    change_staff(actor=SYSTEM, user=member.user, is_staff=True)
    client = Client()
    client.force_login(member.user)
    return client


def raised(version: ModelVersion, environment: Environment, field: str = "hour") -> ModelAlert:
    return raise_alert(
        actor=MONITOR, environment=environment, version=version, reading=Reading("psi", 0.6, 0.2, field, "input"),
        since=timezone.now(), window_minutes=60, evidence=ROWS,
    )  # fmt: skip


def shown(client: Client, version: ModelVersion, environment: Environment, window: str = "24h", form: str = "") -> str:
    reply = client.get(report_link(version, environment, window=window, form=form))
    assert reply.status_code == 200, reply.content
    return reply.content.decode()


def ours(page: str) -> str:
    """Return what is between the skin's own parts."""
    return page.partition('class="hw-page"')[2].partition('<script src="/static/unfold/')[0]


def test_the_page_shows_all_there_is_to_know_worst_first(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    raised(version, environment)
    page = shown(operator, version, environment, "7d")
    assert services.asked[-1]["minutes"] == ["10080"]
    names = re.findall(r'hw-name hw-mono">(\w+)<', page)
    assert names == ["hour", "carrier", "distance", "never", "score"]
    for text in ("Psi of input hour is 0.6", "SELECT 7", "input_invalid", "0.712", "90 minutes", "94.3 %", "pred_1",
                 "drifted", "moving", "calm", "no values", "var(--hw-chart-current, #0b6e8f)"):  # fmt: skip
        assert text in page
    # Traffic, latency, three inputs with values, an output, drift over time, calibration.
    assert page.count("<figure") == 8
    assert "<script" not in ours(page)


def test_windows_environments_and_exports_are_offered(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    page = shown(operator, version, environment, "1h")
    for window in ("24h", "7d"):
        assert f"environment=dev&amp;window={window}" in page
    for form in ("html", "png", "json"):
        assert f"/report.{form}?environment=dev&amp;window=1h" in page
    address = report_link(version, environment)
    for wrong in ("window=5y", "environment=nowhere"):
        assert operator.get(f"{address.partition('?')[0]}?{wrong}").status_code == 404


def test_what_is_missing_is_taught(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = nothing()
    page = shown(operator, version, environment)
    assert "Nobody asked this version" in page
    assert "/v1/models/delay/versions/1/predict" in page
    assert "reference: reference.parquet" in page
    assert "/outcome" in page
    assert "No alert was ever raised" in page
    assert "<figure" not in page


def test_outcomes_of_unknown_predictions_are_counted(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    unknown: dict[str, Any] = {
        "outcomes": 0,
        "unmatched": 31,
        "label_delay_seconds": None,
        "metrics": {},
        "calibration": [],
    }
    services.reports[environment.public_id, "delay", 1] = report(number("hour"), performance=unknown)
    assert "31 outcomes name predictions that no log has" in shown(operator, version, environment)


def test_a_part_that_services_could_not_read_is_named(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    problem = "shadow: the table is locked"
    services.reports[environment.public_id, "delay", 1] = report(number("hour"), problems=[problem])
    assert problem in shown(operator, version, environment)


def test_the_page_says_when_services_are_away_and_keeps_the_alerts(
    operator: Client, no_services: None, environment: Environment, version: ModelVersion
) -> None:
    raised(version, environment)
    page = shown(operator, version, environment)
    assert "The data services are away" in page
    assert "Psi of input hour" in page


def test_a_version_that_is_not_served_says_how_it_would_be(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    other = make_version(version.model, "b")
    page = shown(operator, other, environment)
    assert "not served here" in page
    assert "promote it" in page


def test_charts_that_cannot_be_drawn_leave_the_numbers(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion, charts: StandIn
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    charts.problem = "drawing it took too long"
    page = shown(operator, version, environment)
    assert "Not every chart could be drawn" in page
    assert "drawing it took too long" in page
    assert "0.6" in page
    assert "<svg" not in ours(page)
    reply = operator.get(report_link(version, environment, form="png"))
    assert (reply.status_code, b"could not be drawn" in reply.content) == (503, True)
    assert "0.6" in shown(operator, version, environment, form="html")


def test_names_from_outside_are_texts(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    evil = report(
        number(EVIL, psi=0.6),
        category(
            "c", reference={"categories": [EVIL, "\x00\u202e"], "share": [0.5, 0.5, 0]}, current={"share": [1, 0, 0]}
        ),
    )
    services.reports[environment.public_id, "delay", 1] = evil | {"by_code": {EVIL: 3}}
    for form in ("", "html"):
        assert EVIL not in shown(operator, version, environment, form=form)


def test_the_html_export_asks_nothing_of_anybody(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    raised(version, environment)
    reply = operator.get(report_link(version, environment, form="html"))
    assert reply.headers["Content-Disposition"] == 'attachment; filename="delay-v1-dev-24h.html"'
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    page = reply.content.decode()
    assert not re.findall(r'(?:src|href)="|@import|url\((?!#)|<script|<link', page)
    for text in ("Psi of input hour", "prefers-color-scheme: dark", "--hw-chart-current", "<svg", "drifted"):
        assert text in page


def test_the_image_shows_figures_fields_and_charts(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    raised(version, environment)
    reply = operator.get(report_link(version, environment, form="png"))
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "image/png")
    drawn = reply.content.removeprefix(b"\x89PNG").decode()
    for text in ("delay version 1 in dev", "Alert: psi of input hour", "carrier", "auc 0.712", 'width="1040"'):
        assert text in drawn
    assert drawn.count("<svg ") == 9
    assert "var(" not in drawn


def test_the_numbers_can_be_had_as_json(
    operator: Client, services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    alert = raised(version, environment)
    body = json.loads(shown(operator, version, environment, form="json"))
    assert (body["model"], body["environment"], body["role"]) == ("delay", "dev", "primary")
    assert body["window"]["from"]
    assert body["alerts"][0]["id"] == alert.public_id


def test_alerts_are_seen_on_the_home_in_the_lists_and_on_the_pages(
    operator: Client, no_services: None, environment: Environment, version: ModelVersion
) -> None:
    link = report_link(version, environment).replace("&", "&amp;")
    pages = [
        "/admin/",
        f"/admin/registry/model/{version.model.pk}/change/",
        f"/admin/registry/modelversion/{version.pk}/change/",
    ]
    for page in pages:
        assert link not in operator.get(page).content.decode()
    alert = raised(version, environment)
    for page in pages:
        assert link in operator.get(page).content.decode(), page
    assert 'hw-badge hw-bad">1<' in operator.get("/admin/registry/model/").content.decode()
    assert "psi of input hour" in operator.get("/admin/monitoring/modelalert/").content.decode()
    page = operator.get(f"/admin/monitoring/modelalert/{alert.pk}/change/").content.decode()
    assert "SELECT 7" in page
    clear_alert(actor=MONITOR, alert=alert, reason="calm again")
    assert link not in operator.get("/admin/").content.decode()
    assert "calm again" in operator.get(f"/admin/monitoring/modelalert/{alert.pk}/change/").content.decode()
    assert "calm again" in shown(operator, version, environment)


def test_only_those_who_may_read_models_of_an_organisation_see_its_reports_and_alerts(
    services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    alert = raised(version, environment)
    other = make_environment("other")
    addresses = [report_link(version, environment, form=form) for form in ("", "html", "png", "json")]
    addresses.append(f"/admin/monitoring/modelalert/{alert.pk}/change/")
    reader, stranger, no_reader = staff_of(environment), staff_of(other), staff_of(environment, "producer")
    for address in addresses:
        assert reader.get(address).status_code == 200, address
        assert stranger.get(address).status_code == 404, address
        assert no_reader.get(address).status_code == 404, address
        assert Client().get(address).status_code == 302, address
    home = stranger.get("/admin/").content.decode()
    assert "delay v1" not in home
    assert "psi of input hour" not in home
    assert "psi of input hour" not in stranger.get("/admin/monitoring/modelalert/").content.decode()


def test_the_api_lists_alerts_of_what_the_caller_may_read(environment: Environment, version: ModelVersion) -> None:
    alert = raised(version, environment)
    clear_alert(actor=MONITOR, alert=raised(version, environment, "wind"), reason="calm")
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
