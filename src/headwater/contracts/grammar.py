"""The text forms of values: timestamps, dates, times, UUIDs, numbers and patterns.

Each grammar exists once, as a regular expression that means the same to Python and to RE2. Columns are checked by
RE2 through Arrow, single values by Python; ``TextPattern`` keeps the two together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contracts.shapes import FixedShape

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
MIN_MICROSECONDS: Final = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
MAX_MICROSECONDS: Final = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - EPOCH) // MICROSECOND

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_LONG_MONTH = "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
_SHORT_MONTH = "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
_MONTH_DAY = f"(?:{_LONG_MONTH}|{_SHORT_MONTH}|02-(?:0[1-9]|1[0-9]|2[0-8]))"
DATE: Final = f"(?:{_YEAR}-{_MONTH_DAY}|{_LEAP_YEAR}-02-29)"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
TIME: Final = rf"{_CLOCK}(?:\.[0-9]{{1,6}})?"
_OFFSET = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
TIMESTAMP: Final = f"{DATE}[Tt]{TIME}{_OFFSET}"
NAIVE_TIMESTAMP: Final = f"{DATE}[Tt]{TIME}"
UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
FORMATS: Final = {
    "email": rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*",
    "hostname": rf"{_LABEL}(?:\.{_LABEL})*",
    "ipv4": rf"{_OCTET}(?:\.{_OCTET}){{3}}",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:[^ \t\r\n]+",
}
"""Formats of strings that are checked; others (such as ``password``) only describe."""

_EXCESS_DIGITS = re.compile(rf"({DATE}[Tt]{_CLOCK}\.[0-9]{{6}})[0-9]+({_OFFSET})?")
_IS_TIMESTAMP = re.compile(TIMESTAMP)
_IS_NAIVE = re.compile(NAIVE_TIMESTAMP)
# Constructs that Python and RE2 read alike and Python matches in linear time (no repeated group, one open repeat);
# anything else is asked of RE2 itself, a value at a time.
_PORTABLE = re.compile(
    r"\^?(?:[^\\()\[\]{}^$|?*+]|\\[dDwW.\-/?*+()\[\]{}|^$\\]|\[\^?(?:[^\[\]\\]|\\[dDwW.\-/\[\]\\^])+\]"
    r"|\((?:\?:)?|\)(?![?*+{])|\||[?*+]|\{[0-9]+(?:,[0-9]*)?\})*\$?"
)
_OPEN_REPEAT = re.compile(r"[*+]|,\}")
FEW: Final = 128
"""Up to this many values are matched by Python rather than by RE2, which is slow to compile."""

TINY: Final = 64
"""Up to this many values are not worth a numpy expression either."""

_CLASH = ("--", "&&", "||", "~~")


class GrammarFault(ValueError):
    """A text that does not follow its grammar: ``code`` is a row code, the message a plain sentence."""

    def __init__(self, code: str, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.code = code


class TextPattern:
    """A pattern in RE2 syntax that a text must match from its first to its last character.

    RE2 runs in linear time whatever the pattern, so a contract cannot be made to hang its service.
    """

    def __init__(self, pattern: str) -> None:
        """Compile; raises ValueError with RE2's words when the pattern is not valid."""
        self._python = _portable(pattern)
        self._shape = FixedShape.parse(pattern)
        self._re2 = f"^(?:{pattern})$"
        try:
            pc.match_substring_regex(pa.array([""]), self._re2)
        except pa.ArrowInvalid as error:
            raise ValueError(str(error).removeprefix("Invalid regular expression: ")) from error

    @classmethod
    def trusted(cls, pattern: str) -> TextPattern:
        """Compile one of the grammars of this module, which Python and RE2 are known to read alike."""
        made = cls(pattern)
        made._python = re.compile(pattern)
        return made

    def matches(self, text: str) -> bool:
        """Return whether the whole of ``text`` matches."""
        if self._python is not None:
            return self._python.fullmatch(text) is not None
        return bool(pc.match_substring_regex(pa.array([text]), self._re2)[0].as_py())

    def misses(self, values: Sequence[str | None], texts: pa.Array) -> npt.NDArray[np.int64]:
        """Return the indices of the values that do not match; None matches. ``texts`` are the same values in Arrow.

        RE2 needs some 100 microseconds to compile a pattern, so few values are looked at one by one.
        """
        if self._shape is not None and len(values) > TINY and self._shape.fits_all(texts):
            return _NONE
        if self._python is None or len(values) > FEW:
            return false_indices(pc.match_substring_regex(texts, self._re2))
        fullmatch = self._python.fullmatch
        return indices(i for i, value in enumerate(values) if value is not None and not fullmatch(value))


def _portable(pattern: str) -> re.Pattern[str] | None:
    if not pattern.isascii() or any(clash in pattern for clash in _CLASH) or not _PORTABLE.fullmatch(pattern):
        return None
    if len(_OPEN_REPEAT.findall(pattern)) > 1:
        return None
    try:
        return re.compile(f"(?:{pattern})", re.ASCII)
    except re.error:
        return None


class IPv6Pattern(TextPattern):
    """The text form of an IPv6 address, without a zone."""

    def __init__(self) -> None:
        """Nothing to compile: the standard library decides."""

    def matches(self, text: str) -> bool:
        """Return whether ``text`` is an IPv6 address."""
        try:
            return ipaddress.IPv6Address(text).scope_id is None
        except ValueError:
            return False

    def misses(self, values: Sequence[str | None], texts: pa.Array) -> npt.NDArray[np.int64]:
        """Return the indices of the values that are no addresses; None is passed over."""
        del texts
        return indices(i for i, value in enumerate(values) if value is not None and not self.matches(value))


@lru_cache(maxsize=64)
def format_pattern(name: str) -> TextPattern | None:
    """Return the pattern of a string format; None for those that only describe."""
    if name == "ipv6":
        return IPv6Pattern()
    return TextPattern.trusted(FORMATS[name]) if name in FORMATS else None


_NONE: Final[npt.NDArray[np.int64]] = np.empty(0, dtype=np.int64)


def indices(found: Iterable[int]) -> npt.NDArray[np.int64]:
    """Return indices as an array."""
    return np.fromiter(found, dtype=np.int64)


def false_indices(verdicts: pa.Array) -> npt.NDArray[np.int64]:
    """Return where a boolean array is false, neither true nor null."""
    if pc.all(verdicts).as_py() is not False:
        return _NONE
    return np.flatnonzero(~pc.fill_null(verdicts, fill_value=True).to_numpy(zero_copy_only=False))


def parse_timestamp(text: str, *, zone: str | None = None, lenient: bool = False) -> int:
    """Return epoch microseconds of an RFC 3339 timestamp.

    Args:
        text: seconds are required, at most six digits of a second, the year 1-9999 also after the shift to UTC.
        zone: the IANA zone of a text without an offset.
        lenient: cut digits beyond the microsecond; take the first of two equal local times.

    Raises:
        GrammarFault: ``invalid_timestamp``, ``timestamp_without_timezone`` or ``precision_loss``.
    """
    if _IS_TIMESTAMP.fullmatch(text):
        micros = (datetime.fromisoformat(text.upper()) - EPOCH) // MICROSECOND
    elif _IS_NAIVE.fullmatch(text):
        micros = _localise(text, zone, lenient=lenient)
    elif excess := _EXCESS_DIGITS.fullmatch(text):
        if not lenient:
            raise GrammarFault("precision_loss", "must have at most six digits of a second")
        return parse_timestamp(excess[1] + (excess[2] or ""), zone=zone, lenient=True)
    else:
        raise GrammarFault("invalid_timestamp", "must be a timestamp such as 2026-01-31T09:30:00Z")
    if not MIN_MICROSECONDS <= micros <= MAX_MICROSECONDS:
        raise GrammarFault("invalid_timestamp", "must lie between the years 1 and 9999 in UTC")
    return micros


def _localise(text: str, zone: str | None, *, lenient: bool) -> int:
    if zone is None:
        raise GrammarFault("timestamp_without_timezone", "must have an offset, such as Z or +02:00")
    local = datetime.fromisoformat(text.upper()).replace(tzinfo=ZoneInfo(zone))
    first, second = ((local.replace(fold=fold) - EPOCH) // MICROSECOND for fold in (0, 1))
    if first != second and not lenient:
        how_often = "twice" if first < second else "never"
        raise GrammarFault("invalid_timestamp", f"this local time occurs {how_often} in {zone}; send an offset")
    return first


def is_timestamp(text: str) -> bool:
    """Return whether a text that can be parsed is RFC 3339 as it stands, without a zone or leniency."""
    return _IS_TIMESTAMP.fullmatch(text) is not None


def timestamp_text(microseconds: int) -> str:
    """Return the canonical text of an instant."""
    return (EPOCH + microseconds * MICROSECOND).isoformat(timespec="microseconds")


def clock_microseconds(text: str) -> int:
    """Return microseconds since midnight of a text that ``TIME`` matches."""
    hours, minutes, seconds = text.split(":")
    whole, _, fraction = seconds.partition(".")
    return (int(hours) * 3600 + int(minutes) * 60 + int(whole)) * 1_000_000 + int(fraction.ljust(6, "0"))
