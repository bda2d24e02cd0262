"""Time ranges as people say them: ``last 7 days``, ``this month``, ``2013-01-01/2013-03-31``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

MOST: Final = 100_000
_LAST: Final = re.compile(r"last ([1-9][0-9]{0,5}) (minutes?|hours?|days?|weeks?|months?)")
_BETWEEN: Final = re.compile(r"(\d{4}-\d\d-\d\d)/(\d{4}-\d\d-\d\d)")
_SECONDS: Final = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
PRESETS: Final = (
    "last 24 hours",
    "last 7 days",
    "last 30 days",
    "last 90 days",
    "last 12 months",
    "today",
    "yesterday",
    "this month",
    "this year",
)
"""What a filter offers that names no values of its own."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of time. As days both ends belong to it; as instants the end does not."""

    first: date
    last: date
    starts_at: datetime
    ends_at: datetime

    def end(self, part: str, type_: str) -> str:
        """Return one end as a parameter of ``type_`` (date or timestamp) takes it; ``part`` is ``from`` or ``to``."""
        if type_ == "date":
            return (self.first if part == "from" else self.last).isoformat()
        return (self.starts_at if part == "from" else self.ends_at).isoformat().replace("+00:00", "Z")


def parse_range(text: str) -> Callable[[datetime], Span]:
    """Return what gives the range that ``text`` means at an instant.

    Raises:
        ValueError: it is no range; says what is one.
    """
    said = " ".join(text.lower().split())
    if said in _NAMED:
        return _NAMED[said]
    relative = _LAST.fullmatch(said)
    if relative is not None:
        return _relative(int(relative[1]), relative[2].rstrip("s"))
    between = _BETWEEN.fullmatch(said)
    if between is not None:
        return _fixed(date.fromisoformat(between[1]), date.fromisoformat(between[2]))
    raise ValueError(f"{text[:60]!r} is no time range; say 'last 7 days', 'this month' or '2026-01-01/2026-01-31'")


def _relative(count: int, unit: str) -> Callable[[datetime], Span]:
    if count > MOST:
        raise ValueError(f"{count} {unit}s is too long a time range; at most {MOST:,}")

    def span(now: datetime) -> Span:
        # To the minute, so that many readers ask the same question and are given the same answer.
        end = now.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        today = now.astimezone(UTC).date()
        if unit == "month":
            first = _months_before(today, count)
            return Span(first + timedelta(days=1), today, _midnight(first + timedelta(days=1)), end)
        try:
            starts_at = end - timedelta(seconds=count * _SECONDS[unit])
        except OverflowError as error:
            raise ValueError(f"the last {count} {unit}s begin before the calendar does") from error
        whole_days = count * _SECONDS[unit] // _SECONDS["day"]
        first = today - timedelta(days=max(whole_days - 1, 0)) if unit in ("day", "week") else starts_at.date()
        return Span(first, today, starts_at, end)

    return span


def _fixed(first: date, last: date) -> Callable[[datetime], Span]:
    if last < first:
        raise ValueError(f"{first}/{last} ends before it begins")
    span = Span(first, last, _midnight(first), _midnight(last) + timedelta(days=1))
    return lambda _now: span


def _today(now: datetime) -> Span:
    today = now.astimezone(UTC).date()
    return _fixed(today, today)(now)


def _yesterday(now: datetime) -> Span:
    day = now.astimezone(UTC).date() - timedelta(days=1)
    return _fixed(day, day)(now)


def _this_month(now: datetime) -> Span:
    today = now.astimezone(UTC).date()
    return _fixed(today.replace(day=1), today)(now)


def _this_year(now: datetime) -> Span:
    today = now.astimezone(UTC).date()
    return _fixed(today.replace(month=1, day=1), today)(now)


_NAMED: Final[dict[str, Callable[[datetime], Span]]] = {
    "today": _today,
    "yesterday": _yesterday,
    "this month": _this_month,
    "this year": _this_year,
}


def _months_before(day: date, count: int) -> date:
    months = day.year * 12 + day.month - 1 - count
    if months < 12:  # noqa: PLR2004 - the calendar begins with the year 1
        raise ValueError(f"the last {count} months begin before the calendar does")
    year, month = divmod(months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, last)
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
