"""The report of a version: what the page shows, to whom, and what it says when something is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.builders.control import make_environment, make_member, make_user
from tests.builders.registry import make_version
from tests.builders.reports import FULL, category, nothing, number, performance, report, shadow
from tests.fakes.charts import StandIn
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.identity.actions import change_staff
from headwater.control.kit.actions import SYSTEM
from headwater.control.monitoring.actions import MONITOR, clear_alert
from headwater.control.monitoring.links import report_link
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion

__all__ = ["no_services", "services"]

pytestmark = pytest.mark.usefixtures("charts")
EVIL = "<script>alert(1)</script>"


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


def shown(client: Client, version: ModelVersion, environment: Environment, window: str = "24h", form: str = "") -> str:
    reply = client.get(report_link(version, environment, window=window, form=form))
    assert reply.status_code == 200, reply.content
    return reply.content.decode()


def ours(page: str) -> str:
    """Return what is between the skin's own parts."""
    return page.partition('class="hw-page"')[2].partition('<script src="/static/unfold/')[0]


def test_the_page_shows_all_there_is_to_know_worst_first(
    operator: Client,
    services: FakeServices,
    environment: Environment,
    version: ModelVersion,
    raised: Callable[..., ModelAlert],
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    raised()
    page = shown(operator, version, environment, "7d")
    assert services.asked[-1]["minutes"] == ["10080"]
    names = re.findall(r'hw-name hw-mono">(\w+)<', page)
    assert names == ["hour", "carrier", "distance", "never", "score"]
    for text in ("PSI of input hour is 0.6", "SELECT 7", "input_invalid", "0.712", "90 minutes", "94.3 %", "pred_1",
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
    operator: Client,
    no_services: None,
    environment: Environment,
    version: ModelVersion,
    raised: Callable[..., ModelAlert],
) -> None:
    raised()
    page = shown(operator, version, environment)
    assert "The data services are away" in page
    assert "PSI of input hour" in page


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
    operator: Client,
    services: FakeServices,
    environment: Environment,
    version: ModelVersion,
    raised: Callable[..., ModelAlert],
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    raised()
    reply = operator.get(report_link(version, environment, form="html"))
    assert reply.headers["Content-Disposition"] == 'attachment; filename="delay-v1-dev-24h.html"'
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    page = reply.content.decode()
    assert not re.findall(r'(?:src|href)="|@import|url\((?!#)|<script|<link', page)
    for text in ("PSI of input hour", "prefers-color-scheme: dark", "--hw-chart-current", "<svg", "drifted"):
        assert text in page


def test_the_image_shows_figures_fields_and_charts(
    operator: Client,
    services: FakeServices,
    environment: Environment,
    version: ModelVersion,
    raised: Callable[..., ModelAlert],
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    raised()
    reply = operator.get(report_link(version, environment, form="png"))
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "image/png")
    drawn = reply.content.removeprefix(b"\x89PNG").decode()
    for text in ("delay version 1 in dev", "Alert: PSI of input hour", "carrier", "AUC 0.712", 'width="1040"'):
        assert text in drawn
    assert drawn.count("<svg ") == 9
    assert "var(" not in drawn


def test_the_numbers_can_be_had_as_json(
    operator: Client,
    services: FakeServices,
    environment: Environment,
    version: ModelVersion,
    raised: Callable[..., ModelAlert],
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    alert = raised()
    body = json.loads(shown(operator, version, environment, form="json"))
    assert (body["model"], body["environment"], body["role"]) == ("delay", "dev", "primary")
    assert body["window"]["from"]
    assert body["alerts"][0]["id"] == alert.public_id


def test_alerts_are_seen_on_the_home_in_the_lists_and_on_the_pages(
    operator: Client,
    no_services: None,
    environment: Environment,
    version: ModelVersion,
    raised: Callable[..., ModelAlert],
) -> None:
    link = report_link(version, environment).replace("&", "&amp;")
    pages = [
        "/admin/",
        f"/admin/registry/model/{version.model.pk}/change/",
        f"/admin/registry/modelversion/{version.pk}/change/",
    ]
    for page in pages:
        assert link not in operator.get(page).content.decode()
    alert = raised()
    for page in pages:
        assert link in operator.get(page).content.decode(), page
    assert 'hw-badge hw-bad">1<' in operator.get("/admin/registry/model/").content.decode()
    assert "PSI of input hour" in operator.get("/admin/monitoring/modelalert/").content.decode()
    page = operator.get(f"/admin/monitoring/modelalert/{alert.pk}/change/").content.decode()
    assert "SELECT 7" in page
    clear_alert(actor=MONITOR, alert=alert, reason="calm again")
    assert link not in operator.get("/admin/").content.decode()
    assert "calm again" in operator.get(f"/admin/monitoring/modelalert/{alert.pk}/change/").content.decode()
    assert "calm again" in shown(operator, version, environment)


def test_only_those_who_may_read_models_of_an_organisation_see_its_reports_and_alerts(
    services: FakeServices,
    environment: Environment,
    version: ModelVersion,
    raised: Callable[..., ModelAlert],
) -> None:
    services.reports[environment.public_id, "delay", 1] = FULL
    alert = raised()
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
    assert "PSI of input hour" not in home
    assert "PSI of input hour" not in stranger.get("/admin/monitoring/modelalert/").content.decode()


def test_numbers_and_names_are_written_for_people(
    operator: Client, services: FakeServices, version: ModelVersion, environment: Environment
) -> None:
    disagreement = {"prediction_id": "prd_1", "served": 0.6123456789012345, "shadow": 0.4}
    body = report(
        number("hour"),
        performance=performance(
            outcomes=1, unmatched=1, metrics={"auc": 0.7123456789, "roc_auc": 0.5, "log_loss": 0.51}
        ),
        shadow=shadow(pairs=1, mean_abs_diff=0.0312345678, disagreements=[disagreement]),
    )
    services.reports[environment.public_id, "delay", 1] = body
    page = ours(shown(operator, version, environment))
    for words in ("<dt>AUC</dt><dd>0.712</dd>", "<dt>ROC AUC</dt>", "<dt>Log loss</dt>", "by 1 outcome<", "1 pair of"):
        assert words in page, words
    assert re.search(r"0\.612346</td>.*0\.4</td>.*-0\.212</td>.*prd_1</td>", page, re.DOTALL)
    assert "Auc" not in page
    assert not re.search(r"\d\.\d{11,}", page)


def test_what_a_check_of_features_found_is_on_the_page(
    operator: Client, services: FakeServices, version: ModelVersion, environment: Environment
) -> None:
    example = {"prediction_id": "prd_9", "served": 1.5, "history": 13.8456789012, "as_of": "2026-05-01T00:00:00Z"}
    found = {
        "checked_at": "2026-05-01T03:00:00Z", "since": "2026-04-30T03:00:00Z", "until": "2026-05-01T03:00:00Z",
        "sampled": 1_000, "without_key": 2, "other_revision": 0,
        "features": [
            {"view": "weather", "feature": "wind", "compared": 998, "differing": 0},
            {"view": "weather", "feature": EVIL, "compared": 998, "differing": 3, "max_abs_diff": 12.3456789012,
             "examples": [example]},
        ],
    }  # fmt: skip
    services.reports[environment.public_id, "delay", 1] = report(number("hour"), skew=found)
    page = ours(shown(operator, version, environment))
    section = page.partition('id="skew"')[2].partition("</section>")[0]
    assert EVIL not in section
    for words in ("1,000 predictions", "differs", "same", "(0.301 %)", "12.3", "prd_9", "history says 13.8457"):
        assert words in section, words
    assert section.index("differs") < section.index("same")
    assert "2 whose entity is not in the log" in section
    services.reports[environment.public_id, "delay", 1] = report(number("hour"), skew=found | {"sampled": 0})
    assert "found no prediction" in shown(operator, version, environment)
    services.reports[environment.public_id, "delay", 1] = report(number("hour"))
    assert 'id="skew"' not in shown(operator, version, environment)
