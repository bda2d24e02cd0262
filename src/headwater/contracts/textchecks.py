"""Exact checks of values that travel as text: strings, UUIDs, timestamps, dates and times."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from headwater.contracts import grammar
from headwater.contracts.bounds import INT64_MAX, INT64_MIN, Bounds
from headwater.contracts.checks import Refusal, ValueCheck
from headwater.contracts.grammar import (
    MAX_MICROSECONDS,
    MIN_MICROSECONDS,
    GrammarFault,
    TextPattern,
    clock_microseconds,
    format_pattern,
    is_timestamp,
    parse_timestamp,
    timestamp_text,
)
from headwater.contracts.model import Constraints

EPOCH_UNITS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Formats of timestamps that are numbers, with their length in microseconds."""

_UUID = re.compile(grammar.UUID)
_DATE = re.compile(grammar.DATE)
_TIME = re.compile(grammar.TIME)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,19})")
_UNIX_EPOCH: Final = date(1970, 1, 1)


class StringCheck(ValueCheck):
    """A string: length in characters, pattern, format, list of values."""

    expected = "a string"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return str within its lengths, or the listed values; patterns are checked on columns."""
        self.patterns: list[tuple[TextPattern, str, str]] = []
        if constraints.pattern is not None:
            self.patterns.append((TextPattern(constraints.pattern), "pattern_mismatch", constraints.pattern))
        if constraints.format and (pattern := format_pattern(constraints.format)):
            self.patterns.append((pattern, "invalid_format", constraints.format))
        self.may_settle = not self.patterns
        if constraints.enum is not None:
            return Literal[tuple(constraints.enum)]
        if constraints.min_length is None and constraints.max_length is None:
            return str
        return Annotated[str, Meta(min_length=constraints.min_length, max_length=constraints.max_length)]

    def value(self, raw: bytes) -> str:
        """Check one value."""
        text = raw.decode() if self.lenient and raw[0] not in b'"{[' else self.text(raw)
        self.require_listed(text)
        self.require_length(len(text), "characters")
        for pattern, code, said in self.patterns:
            if not pattern.matches(text):
                message = f"must match {said}" if code == "pattern_mismatch" else f"must have the format {said}"
                raise Refusal(code, message, said)
        return text


class UuidCheck(ValueCheck):
    """A UUID in its canonical form: 36 characters, lower case; leniently upper case becomes lower."""

    expected = "a UUID"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return str of that length; the grammar is checked on columns."""
        del constraints
        return Annotated[str, Meta(min_length=36, max_length=36)]

    def value(self, raw: bytes) -> str:
        """Check one value."""
        text = self.text(raw).lower() if self.lenient else self.text(raw)
        if not _UUID.fullmatch(text):
            raise Refusal("invalid_format", "must be a UUID in lower case", "uuid")
        self.require_listed(text)
        return text


class TimestampCheck(ValueCheck):
    """An instant: RFC 3339 text, or a whole number where the contract declares ``epoch_s``, ``_ms`` or ``_us``."""

    expected = "a timestamp"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return text or integers of the right size; the grammar is checked on columns."""
        self.bounds = Bounds(constraints, parse_timestamp)
        self.unit = EPOCH_UNITS.get(constraints.format or "")
        if self.unit is not None:
            self.expected = f"a whole number ({constraints.format})"
            return Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
        return Annotated[str, Meta(min_length=19, max_length=32)]

    def value(self, raw: bytes) -> str | int:
        """Check one value."""
        if self.unit is not None:
            return self._epoch(self.unit, self.number_text(raw))
        text = self.text(raw)
        try:
            micros = parse_timestamp(text, zone=self.field.default_timezone, lenient=self.lenient)
        except GrammarFault as fault:
            raise Refusal(fault.code, str(fault), "timestamp") from fault
        self.require_within(self.bounds, micros)
        return text if is_timestamp(text) else timestamp_text(micros)

    def _epoch(self, unit: int, text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise self.mismatch()
        micros = int(text) * unit
        if not MIN_MICROSECONDS <= micros <= MAX_MICROSECONDS:
            raise Refusal("invalid_timestamp", "must lie between the years 1 and 9999", "timestamp")
        self.require_within(self.bounds, micros)
        return int(text)


class DateCheck(ValueCheck):
    """A calendar day, ``YYYY-MM-DD``."""

    expected = "a date"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return text of that length; the calendar is checked on columns."""
        self.bounds = Bounds(constraints, days)
        return Annotated[str, Meta(min_length=10, max_length=10)]

    def value(self, raw: bytes) -> str:
        """Check one value."""
        text = self.text(raw)
        if not _DATE.fullmatch(text):
            raise Refusal("invalid_format", "must be a date such as 2026-01-31", "date")
        self.require_within(self.bounds, days(text))
        self.require_listed(text)
        return text


class TimeCheck(ValueCheck):
    """A time of day, ``HH:MM:SS`` with at most six digits of a second, without an offset."""

    expected = "a time of day"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return text of that length; the clock is checked on columns."""
        self.bounds = Bounds(constraints, clock_microseconds)
        return Annotated[str, Meta(min_length=8, max_length=15)]

    def value(self, raw: bytes) -> str:
        """Check one value."""
        text = self.text(raw)
        if not _TIME.fullmatch(text):
            raise Refusal("invalid_format", "must be a time such as 09:30:00", "time")
        self.require_within(self.bounds, clock_microseconds(text))
        self.require_listed(text)
        return text


def days(text: str) -> int:
    """Return days since 1970-01-01 of a date in text."""
    return (date.fromisoformat(text) - _UNIX_EPOCH).days
