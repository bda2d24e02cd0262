"""Judging versions: what services report against the thresholds of the serving rules, with hysteresis.

An evaluation is one transaction: the streaks move on and alerts are raised and cleared together, or nothing happens.
Two evaluations at the same moment are one, so a task that is delivered twice does not count twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from headwater.control.kit.actions import bookkeeping
from headwater.control.monitoring.actions import MONITOR, clear_alert, raise_alert
from headwater.control.monitoring.models import METRICS, ModelAlert, VersionWatch
from headwater.control.monitoring.report import KnownQuality, Report
from headwater.control.monitoring.rows import Signature, evidence_of, misses_of
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion
from headwater.core.monitoring_specs import MonitorSpec
from headwater.engines.monitoring.alerts import (
    QUALITIES,
    AlertState,
    Change,
    Reading,
    judges_quality,
    quality_readings,
    readings,
    step,
    threshold_of,
)

QUALITY_GAP: Final = timedelta(minutes=10)
"""Outcomes come slowly and are read from the lake, so quality is not judged with every evaluation."""
LEAST_GAP: Final = timedelta(seconds=10)
"""Evaluations closer together than this look at the same rows; the later one does not count."""


def judge(
    environment: Environment,
    version: ModelVersion,
    report: Report,
    monitor: MonitorSpec,
    *,
    quality: KnownQuality | None = None,
    now: datetime | None = None,
) -> list[tuple[Change, ModelAlert]]:
    """Hold a report, and the quality where it is given, against the thresholds.

    Returns:
        The alerts that this raised and cleared.
    """
    now = now or timezone.now()
    with transaction.atomic():
        watch = _locked(environment, version, now)
        if watch.judged_at is not None and now - watch.judged_at < LEAST_GAP:
            return []
        evaluation = _Evaluation(environment, version, report, monitor, now, quality)
        changes = evaluation.run(watch)
        watch.streaks = evaluation.streaks
        watch.asked_at = watch.judged_at = now
        watch.quality_judged_at = now if quality is not None else watch.quality_judged_at
        watch.problem = ""
        watch.save()
    return changes


def is_quality_due(environment: Environment, version: ModelVersion, monitor: MonitorSpec) -> bool:
    """Return whether quality has thresholds and was not judged for a while."""
    if not judges_quality(monitor):
        return False
    watch = VersionWatch.objects.filter(environment=environment, version=version).first()
    last = watch.quality_judged_at if watch else None
    return last is None or timezone.now() - last >= QUALITY_GAP


def note_problem(environment: Environment, version: ModelVersion, problem: str) -> None:
    """Write down that a version could not be judged; alerts and streaks stay as they are."""
    now = timezone.now()
    with transaction.atomic():
        watch = _locked(environment, version, now)
        watch.asked_at, watch.problem = now, problem[:300]
        watch.save(update_fields=["asked_at", "problem"])


def clear_unserved(environment: Environment, served: set[Any]) -> int:
    """Clear the alerts of versions that are not served any more and forget their streaks; return how many alerts."""
    gone = standing(environment).exclude(version_id__in=served)
    cleared = 0
    for alert in gone:
        clear_alert(actor=MONITOR, alert=alert, reason="the version is not served here any more")
        cleared += 1
    VersionWatch.objects.filter(environment=environment).exclude(version_id__in=served).delete()
    return cleared


def standing(environment: Environment) -> Any:
    """Return the alerts of an environment that stand."""
    alerts = ModelAlert.objects.for_org(environment.org_id).filter(environment=environment, cleared_at=None)
    return alerts.select_related("version__model", "environment__project")


class _Evaluation:
    """One evaluation of one version."""

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        environment: Environment,
        version: ModelVersion,
        report: Report,
        monitor: MonitorSpec,
        now: datetime,
        quality: KnownQuality | None,
    ) -> None:
        self.environment = environment
        self.version = version
        self.report = report
        self.monitor = monitor
        self.now = now
        self.quality = quality
        self.alerts = {alert.key: alert for alert in standing(environment).filter(version=version)}
        self.streaks: dict[str, dict[str, Any]] = {}

    def run(self, watch: VersionWatch) -> list[tuple[Change, ModelAlert]]:
        changes: list[tuple[Change, ModelAlert]] = []
        streaks = watch.known_streaks()
        read = readings(self.report.plain(), self.monitor)
        if self.quality is not None and self.quality.performance is not None:
            read += quality_readings(self.quality.performance.model_dump(), self.monitor.quality)
        found = {reading.key: reading for reading in read}
        for key, reading in found.items():
            changes += self._judge(reading, streaks.get(key, {}))
        # What has no reading now, for want of rows, keeps its streak as it keeps its alert.
        self.streaks |= {key: streaks[key] for key in streaks if key not in found and self._is_judged(key)}
        for key, alert in self.alerts.items():
            if key not in found and not self._is_judged(key):
                reason = f"{alert.metric} is not judged any more"
                changes.append(("cleared", clear_alert(actor=MONITOR, alert=alert, reason=reason)))
        return changes

    def _is_judged(self, key: str) -> bool:
        metric = key.partition(":")[0]
        return metric in METRICS and threshold_of(self.monitor, metric) is not None

    def _judge(self, reading: Reading, streak: Mapping[str, Any]) -> list[tuple[Change, ModelAlert]]:
        alert = self.alerts.get(reading.key)
        before = AlertState(alert is not None, _count(streak))
        state, change = step(
            before,
            is_beyond=reading.is_beyond,
            raise_after=self.monitor.raise_after,
            clear_after=self.monitor.clear_after,
        )
        since = self.now if not before.streak else (parse_datetime(str(streak.get("since", ""))) or self.now)
        if state.streak:
            self.streaks[reading.key] = {"count": state.streak, "since": since.isoformat()}
        if alert is not None and change is None:
            self._follow(alert, reading)
        if change == "raised":
            return [(change, self._raise(reading, since))]
        if change == "cleared" and alert is not None:
            reason = f"within the threshold {self.monitor.clear_after} times in a row"
            return [(change, clear_alert(actor=MONITOR, alert=alert, reason=reason, value=reading.value))]
        return []

    def _raise(self, reading: Reading, since: datetime) -> ModelAlert:
        signature = Signature(self.version.inputs.get("fields", ()), self.version.outputs)
        evidence = evidence_of(self.report, reading.metric, reading.side, reading.field, signature)
        minutes = self.monitor.window_minutes
        if reading.metric in QUALITIES and self.quality is not None:
            minutes = self.quality.window.minutes
            evidence = misses_of(self.report, self.quality, reading.field or "", signature)
        return raise_alert(
            actor=MONITOR, environment=self.environment, version=self.version, reading=reading, since=since,
            window_minutes=minutes, evidence=evidence,
        )  # fmt: skip

    def _follow(self, alert: ModelAlert, reading: Reading) -> None:
        """Keep the newest and the worst value of an alert that stands; nobody decided them."""
        with bookkeeping():
            ModelAlert.objects.for_org(alert.org_id).filter(pk=alert.pk, cleared_at=None).update(
                latest=reading.value, worst=reading.worst(alert.worst), judged_at=self.now
            )


def _count(streak: Mapping[str, Any]) -> int:
    count = streak.get("count", 0)
    return count if type(count) is int and count > 0 else 0


def _locked(environment: Environment, version: ModelVersion, now: datetime) -> VersionWatch:
    """Return the watch of a version, held until the transaction ends."""
    watches = VersionWatch.objects.select_for_update()
    watch = watches.filter(environment=environment, version=version).first()
    if watch is None:
        VersionWatch.objects.get_or_create(environment=environment, version=version, defaults={"asked_at": now})
        watch = watches.get(environment=environment, version=version)
    return watch
