"""What happened over time, in stretches long enough to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from headwater.control.monitoring.report import FieldReport, Report, Traffic

BUCKETS: Final = 60
_STEPS_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440)
_HOUR_MINUTES: Final = 60


@dataclass(frozen=True, slots=True)
class Bucket:
    """Traffic of a stretch of time; instants are milliseconds of the epoch."""

    since: int
    until: int
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


def bucketed(report: Report) -> list[Bucket]:
    """Return the traffic in at most about ``BUCKETS`` stretches of one length."""
    step = _step(report) * 60_000
    groups: dict[int, list[Traffic]] = {}
    for minute in report.traffic:
        groups.setdefault(millis(minute.minute) // step * step, []).append(minute)
    until = millis(report.window.until)
    return [_bucket(since, min(since + step, until), group) for since, group in sorted(groups.items())]


def without_gaps(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Return the buckets with an empty one after each that the next does not follow on, where lines break off."""
    found: list[Bucket] = []
    for bucket, following in zip(buckets, [*buckets[1:], None], strict=True):
        found.append(bucket)
        if following is not None and following.since > bucket.until:
            length = bucket.until - bucket.since
            found.append(Bucket(bucket.until, bucket.until + length, 0, 0, None, None))
    return found


def _bucket(since: int, until: int, group: Sequence[Traffic]) -> Bucket:
    requests = sum(minute.requests for minute in group)
    timed = [minute for minute in group if minute.p50_ms is not None and minute.requests]
    weight = sum(minute.requests for minute in timed)
    p50 = sum((minute.p50_ms or 0.0) * minute.requests for minute in timed) / weight if weight else None
    p99 = max((minute.p99_ms for minute in group if minute.p99_ms is not None), default=None)
    return Bucket(since, until, requests, sum(minute.errors for minute in group), p50, p99)


def _step(report: Report) -> int:
    """Return the length of a bucket in minutes: not shorter than what services count by."""
    least = max((minute.minutes for minute in report.traffic), default=1)
    fitting = (step for step in _STEPS_MINUTES if step >= least and report.window.minutes / step <= BUCKETS)
    return next(fitting, _STEPS_MINUTES[-1])


def step_text(report: Report) -> str:
    """Return how long a bucket is, in words."""
    step = _step(report)
    if step == 1:
        return "minute"
    if step < _HOUR_MINUTES:
        return f"{step} minutes"
    return "hour" if step == _HOUR_MINUTES else f"{step // _HOUR_MINUTES} hours"


def by_hours(field: FieldReport, hours: int) -> dict[int, float]:
    """Return the worst PSI of each stretch of so many hours."""
    step = hours * 3_600_000
    worst: dict[int, float] = {}
    for hour in field.series:
        if hour.psi is not None:
            since = millis(hour.hour) // step * step
            worst[since] = max(worst.get(since, 0.0), hour.psi)
    return worst


def millis(at: datetime) -> int:
    """Return an instant in milliseconds of the epoch."""
    return int(at.timestamp() * 1_000)
