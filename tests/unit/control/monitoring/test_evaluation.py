"""Alerts: raised and cleared with hysteresis, once, whatever services and workers do meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.builders.control import events, make_environment
from tests.builders.registry import make_model, make_version
from tests.builders.reports import category, nothing, number, performance, report
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.catalog.data_plane import DataPlane
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.kit.models import Outbox
from headwater.control.monitoring import actions, evaluation
from headwater.control.monitoring.actions import MONITOR, clear_alert
from headwater.control.monitoring.evaluation import judge
from headwater.control.monitoring.models import ModelAlert, VersionWatch
from headwater.control.monitoring.report import Report
from headwater.control.monitoring.tasks import evaluate
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import change_serving, deploy_version, promote_version
from headwater.control.registry.models import ModelVersion
from headwater.core.monitoring_specs import MonitorSpec, QualitySpec
from headwater.core.snapshot import ServingSpec

__all__ = ["no_services", "services"]

CALM, MOVED = number("hour", psi=0.02), number("hour", psi=0.6)
MONITOR_SPEC = MonitorSpec(raise_after=2, clear_after=3)


@pytest.fixture
def version(environment: Environment, owner: Actor) -> ModelVersion:
    made = make_version(make_model(environment, actor=owner), actor=owner)
    promote_version(actor=owner, version=made, environment=environment)
    return made


@pytest.fixture
def no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every evaluation count, however soon it follows."""
    monkeypatch.setattr(evaluation, "LEAST_GAP", timedelta(0))


@pytest.fixture
def answer(services: FakeServices, environment: Environment, version: ModelVersion) -> Callable[[Any], int]:
    """Let services answer with a report, and evaluate."""

    def run(body: Any) -> int:
        services.reports[environment.public_id, "delay", 1] = body
        return evaluate()

    return run


def alerts() -> list[tuple[str, bool]]:
    return [(alert.key, alert.stands) for alert in ModelAlert.unscoped.order_by("raised_at")]


def told(topic: str) -> list[dict[str, Any]]:
    return [row.payload for row in Outbox.objects.filter(topic=topic).order_by("id")]


def test_an_alert_is_raised_after_so_many_evaluations_and_cleared_after_so_many(
    answer: Callable[[Any], int], no_gap: None, environment: Environment
) -> None:
    assert [answer(report(MOVED)), answer(report(MOVED)), answer(report(MOVED))] == [0, 1, 0]
    assert alerts() == [("psi:input:hour", True)]
    assert [answer(report(CALM)), answer(report(CALM)), answer(report(MOVED))] == [0, 0, 0]
    assert [answer(report(CALM)), answer(report(CALM)), answer(report(CALM))] == [0, 0, 1]
    assert alerts() == [("psi:input:hour", False)]
    assert len(events(environment.org, "monitoring.alert.raised")) == 1
    (cleared,) = events(environment.org, "monitoring.alert.cleared")
    assert (cleared.actor_label, cleared.reason) == (MONITOR.label, "within the threshold 3 times in a row")


def test_a_number_that_goes_to_and_fro_rings_nobody(answer: Callable[[Any], int], no_gap: None) -> None:
    for body in [report(MOVED), report(CALM)] * 4:
        answer(body)
    assert alerts() == []


def test_the_events_say_what_where_how_much_since_when_and_which_rows(
    answer: Callable[[Any], int], no_gap: None, environment: Environment
) -> None:
    answer(report(MOVED))
    since = VersionWatch.objects.get().streaks["psi:input:hour"]["since"]
    answer(report(MOVED))
    (raised,) = told("model.alert.raised")
    assert {name: raised[name] for name in ("model", "version", "environment_key", "metric", "side", "field")} == {
        "model": "delay", "version": 1, "environment_key": "dev", "metric": "psi", "side": "input", "field": "hour",
    }  # fmt: skip
    assert (raised["value"], raised["threshold"], raised["since"]) == (0.6, 0.2, since)
    assert raised["link"].startswith("http://127.0.0.1:")
    assert raised["link"].endswith("/report/?environment=dev&window=24h")
    assert raised["rows"]["dataset"] == "predictions_delay"
    assert '"input_hour" >= 23.5' in raised["rows"]["sql"]
    for _ in range(3):
        answer(report(CALM))
    (cleared,) = told("model.alert.cleared")
    assert (cleared["alert"], cleared["value"], cleared["since"]) == (raised["alert"], 0.02, since)


def test_what_stands_survives_a_restart_because_it_lies_in_the_database(
    services: FakeServices, environment: Environment, version: ModelVersion
) -> None:
    # Each evaluation reads everything anew, as a new worker would.
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def run(field: Any, at: int) -> int:
        fresh = ModelVersion.unscoped.select_related("model__project").get(pk=version.pk)
        found = Report.model_validate(report(field))
        return len(judge(environment, fresh, found, MONITOR_SPEC, now=start + timedelta(seconds=30 * at)))

    assert [run(MOVED, 0), run(MOVED, 1)] == [0, 1]
    assert [run(CALM, 2), run(CALM, 3), run(CALM, 4)] == [0, 0, 1]
    assert ModelAlert.unscoped.get().since == start


def test_an_evaluation_that_is_delivered_twice_counts_once(answer: Callable[[Any], int]) -> None:
    assert [answer(report(MOVED)) for _ in range(5)] == [0] * 5
    assert VersionWatch.objects.get().streaks["psi:input:hour"]["count"] == 1


def test_a_failure_on_the_way_leaves_nothing_half_done_and_is_said(
    answer: Callable[[Any], int], no_gap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(report(MOVED, number("wind", psi=0.9)))
    before = VersionWatch.objects.get().streaks
    real = actions.raise_alert
    calls = iter([real])

    def fail_later(**arguments: Any) -> ModelAlert:
        raise_it = next(calls, None)
        if raise_it is None:
            raise RuntimeError("the database is gone")
        return raise_it(**arguments)

    monkeypatch.setattr(evaluation, "raise_alert", fail_later)
    assert answer(report(MOVED, number("wind", psi=0.9))) == 0
    assert VersionWatch.objects.get().problem == "judging it failed: RuntimeError"
    assert alerts() == []
    assert told("model.alert.raised") == []
    assert VersionWatch.objects.get().streaks == before
    monkeypatch.setattr(evaluation, "raise_alert", real)
    assert answer(report(MOVED, number("wind", psi=0.9))) == 2


def test_while_services_are_away_nothing_changes_and_it_is_said(
    answer: Callable[[Any], int], services: FakeServices, no_gap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(report(MOVED))
    answer(report(MOVED))
    judged = VersionWatch.objects.get().judged_at
    assert judged is not None
    monkeypatch.setattr(services, "answer", lambda *_: (500, {}))
    assert evaluate() == 0
    watch = VersionWatch.objects.get()
    assert (watch.judged_at, watch.problem) == (judged, "the services answered 500")
    assert watch.asked_at > judged
    assert alerts() == [("psi:input:hour", True)]


def test_without_a_way_to_the_services_versions_are_marked_and_stay(no_services: None, version: ModelVersion) -> None:
    assert evaluate() == 0
    assert "does not answer" in VersionWatch.objects.get().problem


def test_a_report_that_makes_no_sense_concerns_its_version_alone(
    services: FakeServices, environment: Environment, version: ModelVersion, owner: Actor, no_gap: None
) -> None:
    other = make_version(version.model, "b", owner)
    deploy_version(actor=owner, version=other, environment=environment, role="shadow", weight_bps=10_000)
    services.reports[environment.public_id, "delay", 1] = report(MOVED) | {"fields": [{"name": "hour"}]}
    services.reports[environment.public_id, "delay", 2] = report(MOVED)
    assert [evaluate(), evaluate()] == [0, 1]
    problems = {watch.version_id: watch.problem for watch in VersionWatch.objects.all()}
    assert "fields.0.side" in problems[version.pk]
    assert problems[other.pk] == ""


def test_a_version_unknown_to_the_services_yet_is_skipped(services: FakeServices, version: ModelVersion) -> None:
    assert evaluate() == 0
    assert VersionWatch.objects.get().judged_at is None
    assert VersionWatch.objects.get().problem


def test_too_few_rows_change_nothing(answer: Callable[[Any], int], no_gap: None) -> None:
    answer(report(MOVED))
    answer(report(MOVED))
    for _ in range(4):
        assert answer(nothing() | {"fields": [CALM | {"rows": 3}]}) == 0
    assert alerts() == [("psi:input:hour", True)]


def test_a_streak_waits_out_evaluations_without_enough_rows(answer: Callable[[Any], int], no_gap: None) -> None:
    answer(report(MOVED))
    answer(nothing())
    assert answer(report(MOVED)) == 1


def test_an_alert_ends_with_the_service_of_its_version(
    answer: Callable[[Any], int], environment: Environment, version: ModelVersion, owner: Actor, no_gap: None
) -> None:
    answer(report(MOVED))
    answer(report(MOVED))
    promote_version(actor=owner, version=make_version(version.model, "b", owner), environment=environment)
    assert evaluate() == 1
    assert ModelAlert.unscoped.get().cleared_because == "the version is not served here any more"
    assert not VersionWatch.objects.filter(version=version).exists()


def test_an_alert_ends_with_its_threshold(
    answer: Callable[[Any], int], environment: Environment, version: ModelVersion, owner: Actor, no_gap: None
) -> None:
    answer(report(MOVED))
    answer(report(MOVED))
    rules = ServingSpec(monitor=MonitorSpec(psi=None))
    change_serving(actor=owner, model=version.model, environment=environment, rules=rules)
    assert answer(report(MOVED)) == 1
    assert ModelAlert.unscoped.get().cleared_because == "psi is not judged any more"


def test_the_thresholds_are_those_of_the_serving_rules(
    answer: Callable[[Any], int], services: FakeServices, environment: Environment, version: ModelVersion, owner: Actor
) -> None:
    spec = MonitorSpec(psi=0.9, null_rate=0.005, error_rate=0.05, p99_ms=3.0, raise_after=1, window_minutes=15)
    rules = ServingSpec(monitor=spec)
    change_serving(actor=owner, model=version.model, environment=environment, rules=rules)
    assert answer(report(MOVED, category("carrier"), errors=1)) == 3
    assert sorted(key for key, _ in alerts()) == ["error_rate", "null_rate:input:hour", "p99_ms"]
    assert services.asked[-1] == {"minutes": ["15"], "evidence": ["false"]}


def test_an_alert_that_stands_follows_its_number_without_a_trace_in_the_audit_log(
    answer: Callable[[Any], int], environment: Environment, no_gap: None
) -> None:
    answer(report(MOVED))
    answer(report(MOVED))
    answer(report(number("hour", psi=0.9)))
    answer(report(number("hour", psi=0.5)))
    alert = ModelAlert.unscoped.get()
    assert (alert.value, alert.worst, alert.latest) == (0.6, 0.9, 0.5)
    assert alert.judged_at > alert.raised_at
    assert len(events(environment.org, "monitoring.alert.raised")) == 1


def test_clearing_twice_tells_once(answer: Callable[[Any], int], no_gap: None) -> None:
    answer(report(MOVED))
    answer(report(MOVED))
    alert = ModelAlert.unscoped.get()
    clear_alert(actor=SYSTEM, alert=alert, reason="first")
    clear_alert(actor=SYSTEM, alert=alert, reason="second")
    assert [event["reason"] for event in told("model.alert.cleared")] == ["first"]


def test_streaks_that_make_no_sense_begin_anew(
    answer: Callable[[Any], int], no_gap: None, version: ModelVersion
) -> None:
    answer(report(MOVED))
    VersionWatch.objects.update(streaks={"psi:input:hour": {"count": "many", "since": 7}, "x": 1})
    assert answer(report(MOVED)) == 0
    assert answer(report(MOVED)) == 1
    VersionWatch.objects.update(streaks=[1, 2])
    assert answer(report(CALM)) == 0


def test_organisations_have_alerts_of_their_own(
    answer: Callable[[Any], int], services: FakeServices, environment: Environment, no_gap: None
) -> None:
    other = make_environment("other")
    theirs = make_version(make_model(other))
    promote_version(actor=SYSTEM, version=theirs, environment=other)
    services.reports[other.public_id, "delay", 1] = report(CALM)
    answer(report(MOVED))
    answer(report(MOVED))
    assert ModelAlert.objects.for_org(environment.org_id).count() == 1
    assert ModelAlert.objects.for_org(other.org_id).count() == 0
    assert len(events(other.org, "monitoring.alert.raised")) == 0


def test_once_services_are_away_no_more_is_asked_of_them(
    services: FakeServices,
    environment: Environment,
    version: ModelVersion,
    owner: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deploy_version(
        actor=owner, version=make_version(version.model, "b", owner), environment=environment, role="canary",
        weight_bps=1_000,
    )  # fmt: skip
    asked: list[str] = []
    real = DataPlane.model_report

    def count(self: DataPlane, environment_id: str, *args: Any, **more: Any) -> dict[str, Any]:
        asked.append(environment_id)
        return real(self, environment_id, *args, **more)

    monkeypatch.setattr(DataPlane, "model_report", count)
    monkeypatch.setattr(services, "answer", lambda *_: (500, {}))
    evaluate()
    assert len(asked) == 1
    assert VersionWatch.objects.exclude(problem="").count() == 2


@pytest.fixture
def judge_quality(  # noqa: PLR0917 - fixtures
    services: FakeServices, environment: Environment, version: ModelVersion, owner: Actor, no_gap: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., int]:  # fmt: skip
    """Let services answer with a quality, whose AUC is to be at least 0.7, and evaluate."""
    monkeypatch.setattr(evaluation, "QUALITY_GAP", timedelta(0))
    spec = MonitorSpec(quality=QualitySpec(min_auc=0.7, window_hours=48, settle_minutes=90))
    change_serving(actor=owner, model=version.model, environment=environment, rules=ServingSpec(monitor=spec))
    services.reports[environment.public_id, "delay", 1] = report(CALM)

    def run(auc: float, outcomes: int = 500) -> int:
        window = report(minutes=2_790)["window"]
        known = performance(metrics={"auc": auc}, outcomes=outcomes)
        services.qualities[environment.public_id, "delay", 1] = {"window": window, "performance": known}
        return evaluate()

    return run


def test_quality_below_its_floor_raises_an_alert_that_its_return_clears(
    judge_quality: Callable[..., int], services: FakeServices
) -> None:
    assert [judge_quality(0.6), judge_quality(0.55), judge_quality(0.65)] == [0, 1, 0]
    alert = ModelAlert.unscoped.get()
    assert (alert.key, alert.value, alert.worst, alert.latest) == ("auc:output:score", 0.55, 0.55, 0.65)
    assert (alert.subject, alert.direction, alert.window_minutes) == ("AUC of output score", "below", 2_790)
    assert "prediction_outcomes" in alert.evidence["sql"]
    assert [judge_quality(0.7), judge_quality(0.8), judge_quality(0.9)] == [0, 0, 1]
    assert alerts() == [("auc:output:score", False)]
    assert services.quality_asked[0] == {"minutes": ["2880"], "settle_minutes": ["90"]}


def test_too_few_outcomes_judge_nothing(judge_quality: Callable[..., int]) -> None:
    assert [judge_quality(0.1, outcomes=99) for _ in range(4)] == [0] * 4
    assert [judge_quality(0.1), judge_quality(0.1, outcomes=3), judge_quality(0.1)] == [0, 0, 1]
    assert judge_quality(0.9, outcomes=3) == 0
    assert alerts() == [("auc:output:score", True)]


def test_quality_is_asked_for_every_ten_minutes_and_counts_as_often(
    judge_quality: Callable[..., int], services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "QUALITY_GAP", timedelta(minutes=10))
    assert [judge_quality(0.1) for _ in range(5)] == [0] * 5
    assert len(services.quality_asked) == 1
    VersionWatch.objects.update(quality_judged_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert judge_quality(0.1) == 1


def test_quality_that_cannot_be_read_leaves_the_rest_judged_and_is_said(
    judge_quality: Callable[..., int], services: FakeServices, environment: Environment
) -> None:
    services.reports[environment.public_id, "delay", 1] = report(MOVED)
    assert [evaluate(), evaluate()] == [0, 1]
    assert alerts() == [("psi:input:hour", True)]
    watch = VersionWatch.objects.get()
    assert watch.problem.startswith("its quality could not be judged")
    assert watch.quality_judged_at is None
    services.qualities[environment.public_id, "delay", 1] = {"window": {}, "performance": 7}
    evaluate()
    assert "not understood" in VersionWatch.objects.get().problem
    judge_quality(0.9)
    assert VersionWatch.objects.get().problem == ""


def test_without_thresholds_of_quality_the_lake_is_left_alone(
    answer: Callable[[Any], int], services: FakeServices, no_gap: None
) -> None:
    answer(report(MOVED))
    assert services.quality_asked == []


def test_an_alert_of_quality_ends_with_its_threshold(
    judge_quality: Callable[..., int], environment: Environment, version: ModelVersion, owner: Actor
) -> None:
    judge_quality(0.1)
    judge_quality(0.1)
    change_serving(actor=owner, model=version.model, environment=environment, rules=ServingSpec())
    assert evaluate() == 1
    assert ModelAlert.unscoped.get().cleared_because == "auc is not judged any more"
