"""Monitoring's regular task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from celery import shared_task

from headwater.control.catalog.data_plane import DataPlane, connect
from headwater.control.monitoring.evaluation import clear_unserved, is_quality_due, judge, note_problem
from headwater.control.monitoring.report import KnownQuality, ReportUnreadable, ask_quality, ask_report
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Deployment, ModelVersion
from headwater.control.registry.queries import newest_rollout, rules_of
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.monitoring_specs import MonitorSpec

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """A version that is served in an environment, and the thresholds that it is held against there."""

    environment: Environment
    version: ModelVersion
    monitor: MonitorSpec


@shared_task(name="monitoring.evaluate")
def evaluate() -> int:
    """Judge every version that is served; return how many alerts were raised or cleared.

    A version that services cannot report on stays as it is, and why is written down beside it. Once services are
    away, no more is asked of them.
    """
    services, away = _connected()
    changed = 0
    with services or nullcontext():
        for environment in Environment.unscoped.select_related("project", "org"):
            watched = list(watched_versions(environment))
            changed += clear_unserved(environment, {one.version.pk for one in watched})
            for one in watched:
                if services is None or away:
                    note_problem(environment, one.version, away)
                    continue
                count, away = _evaluate(services, one)
                changed += count
    return changed


def watched_versions(environment: Environment) -> Iterator[Watched]:
    """Return the versions that are served in an environment."""
    deployments = Deployment.objects.for_org(environment.org_id).filter(environment=environment)
    rules: dict[object, MonitorSpec] = {}
    for deployment in deployments.select_related("version__model__project").order_by("model__name", "version__number"):
        model = deployment.version.model
        if model.pk not in rules:
            rules[model.pk] = rules_of(newest_rollout(model, environment.pk)).monitor
        yield Watched(environment, deployment.version, rules[model.pk])


def _connected() -> tuple[DataPlane | None, str]:
    """Return the services, or why there are none."""
    try:
        return connect(), ""
    except HeadwaterError as error:
        return None, error.detail


def _evaluate(services: DataPlane, one: Watched) -> tuple[int, str]:
    """Return how many alerts changed, and why services are away if they are."""
    environment, version = one.environment, one.version
    try:
        report = ask_report(
            services, environment.public_id, version.model.name, version.number,
            minutes=one.monitor.window_minutes, evidence=False,
        )  # fmt: skip
        quality, problem = _known_quality(services, one)
    except HeadwaterError as error:
        note_problem(environment, version, error.detail)
        _log.debug("version_not_judged", version=str(version), problem=error.detail)
        is_away = error.code == "services_unavailable" and not isinstance(error, ReportUnreadable)
        return 0, error.detail if is_away else ""
    try:
        changes = judge(environment, version, report, one.monitor, quality=quality)
        if problem:
            note_problem(environment, version, problem)
        return len(changes), ""
    except Exception as error:  # noqa: BLE001 - as the comment says
        # Whatever is wrong with this one, the others are judged; nothing of it was written.
        _log.exception("judging_failed", version=str(version), environment=environment.public_id)
        note_problem(environment, version, f"judging it failed: {type(error).__name__}")
        return 0, ""


def _known_quality(services: DataPlane, one: Watched) -> tuple[KnownQuality | None, str]:
    """Return the quality where it is to be judged now, and why it could not be read; the rest is judged without it."""
    if not is_quality_due(one.environment, one.version, one.monitor):
        return None, ""
    name, number = one.version.model.name, one.version.number
    try:
        return ask_quality(services, one.environment.public_id, name, number, one.monitor.quality), ""
    except HeadwaterError as error:
        return None, f"its quality could not be judged: {error.detail}"
