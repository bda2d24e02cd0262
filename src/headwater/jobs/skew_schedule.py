"""Which versions' features are checked by themselves: once a day each that is served and fetches any."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.core.snapshot import ModelSpec, ModelVersionSpec, Snapshot
from headwater.engines.features.skew import load_report, report_path
from headwater.engines.features.skew_jobs import plan_check, queue_check
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import JobStore
from headwater.jobs.online.configuration import Configuration

PRINCIPAL: Final = "headwater:skew"
EVERY: Final = timedelta(days=1)
_log = get_logger(__name__)


def schedule_checks(settings: Settings, *, now: datetime | None = None) -> int:
    """Queue a check of each version that was not checked for a day; return how many were due.

    Call it as often as wanted. Versions that cannot be checked, and a queue that is full, are left for the next time.
    """
    now = now or datetime.now(UTC)
    home = Home(settings.home)
    configuration = Configuration(home)
    configuration.refresh()
    due = [
        (snapshot, model, version)
        for snapshot in configuration.snapshots.values()
        for model in snapshot.models.values()
        for version in _routed(model)
        if version.features and _is_due(home, snapshot, version, now)
    ]
    if not due:
        return 0
    store = open_queue(settings)
    try:
        return sum(_queue(store, snapshot, model, version, now) for snapshot, model, version in due)
    finally:
        store.close()


def _routed(model: ModelSpec) -> list[ModelVersionSpec]:
    numbers = dict.fromkeys(route.version for route in model.routes)
    return [model.versions[number] for number in numbers if number in model.versions]


def _is_due(home: Home, snapshot: Snapshot, version: ModelVersionSpec, now: datetime) -> bool:
    report = load_report(report_path(home, snapshot.environment.id, version.id))
    return report is None or now - report.checked_at >= EVERY


def _queue(store: JobStore, snapshot: Snapshot, model: ModelSpec, version: ModelVersionSpec, now: datetime) -> bool:
    now_us = time.time_ns() // 1_000
    try:
        check = plan_check(snapshot, model, version, now_us=now_us)
        # Once a day even where it fails: what is wrong today is wrong in an hour.
        queue_check(store, check, principal_id=PRINCIPAL, now_us=now_us, once_for=f"{now:%Y-%m-%d}")
    except HeadwaterError as error:
        _log.warning("skew_not_checked", model=model.name, version=version.number, error=error.detail)
        return False
    return True
