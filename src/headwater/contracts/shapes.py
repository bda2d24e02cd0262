"""Whole columns of text checked by numpy where RE2 would be slow: fixed character classes, and RFC 3339's outline.

Everything here only ever says "surely right" or "look closer".
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int32]

_STEP = re.compile(r"(\[[^\]\[\\^][^\]\[\\]*\]|\\d|\\[-./]|[A-Za-z0-9 _:@/-])(?:\{([0-9]{1,3})\})?")
_MAX_CLASSES: Final = 8
_MAX_LENGTH: Final = 256
_T, _Z, _COLON, _PLUS, _MINUS, _ZERO = (ord(mark) for mark in "TZ:+-0")
_SURE_DAYS: Final = np.zeros(256, dtype=np.uint8)
_SURE_DAYS[1:13] = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SHORTEST: Final = len("2026-01-01T10:00:00")
_ZULU_LENGTH: Final = len("2026-01-01T10:00:00Z")
_OFFSET_LENGTH: Final = len("2026-01-01T10:00:00+00:00")


def text_buffers(texts: pa.StringArray) -> tuple[Bytes, Offsets]:
    """Return the bytes of a string array laid end to end, and where each text begins and ends."""
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8), starts


class FixedShape:
    """A pattern that is one ASCII character class after another, such as that of a UUID."""

    def __init__(self, classes: list[str]) -> None:
        """Compile a class for each character."""
        kinds = list(dict.fromkeys(classes))
        self.length = len(classes)
        self._kinds = np.zeros(256, dtype=np.uint8)
        for bit, kind in enumerate(kinds):
            members = [code for code in range(128) if re.fullmatch(kind, chr(code), re.ASCII)]
            self._kinds[members] |= 1 << bit
        self._needed = np.array([1 << kinds.index(kind) for kind in classes], dtype=np.uint8)

    @classmethod
    def parse(cls, pattern: str) -> FixedShape | None:
        """Return the shape of a pattern; None when it is anything but fixed classes."""
        classes: list[str] = []
        body = pattern.removeprefix("^").removesuffix("$")
        at = 0
        while at < len(body):
            step = _STEP.match(body, at)
            if step is None or len(classes) > _MAX_LENGTH:
                return None
            classes += [step[1]] * int(step[2] or 1)
            at = step.end()
        fits = 0 < len(classes) <= _MAX_LENGTH and len(set(classes)) <= _MAX_CLASSES
        return cls(classes) if fits else None

    def fits_all(self, texts: pa.StringArray) -> bool:
        """Return whether surely every text has the shape; never where there are nulls."""
        if texts.null_count:
            return False
        data, starts = text_buffers(texts)
        if np.any(np.diff(starts) != self.length):
            return False
        table = data[starts[0] : starts[-1]].reshape(-1, self.length)
        return bool(np.all(self._kinds[table] & self._needed))


def outside_instants(texts: pa.StringArray) -> npt.NDArray[np.int64]:
    """Return the indices of texts that Arrow might read as instants although RFC 3339 does not; nulls are inside.

    Arrow is exact about digits and calendars but also takes a space for ``T``, times without seconds, offsets without
    minutes and the year 0. Days that may not exist, the 29th of February among them, are told apart here because one
    of them makes Arrow refuse them all.
    """
    data, starts = text_buffers(texts)
    outside = np.ones(len(texts), dtype=bool)
    if texts.null_count:
        outside &= texts.is_valid().to_numpy(zero_copy_only=False)
    length = np.diff(starts)
    long = outside & (length >= _SHORTEST)
    at = slice(None) if long.all() else np.flatnonzero(long)
    begin, end, length = starts[:-1][at], starts[1:][at], length[at]
    sign = data[end - 6]
    zoned = (data[end - 3] == _COLON) & ((sign == _PLUS) | (sign == _MINUS)) & (length >= _OFFSET_LENGTH)
    sound: Any = ((data[end - 1] == _Z) & (length >= _ZULU_LENGTH)) | zoned
    sound &= data[begin + 10] == _T
    sound &= (data[begin] | data[begin + 1] | data[begin + 2] | data[begin + 3]) != _ZERO
    sound &= _pair(data, begin + 8) <= _SURE_DAYS[_pair(data, begin + 5)]
    outside[at] = ~sound
    return np.flatnonzero(outside)


def _pair(data: Bytes, at: Offsets) -> npt.NDArray[np.uint8]:
    """Return the numbers of two digits at some places; what is no digit gives any number."""
    number: npt.NDArray[np.uint8] = (data[at] - _ZERO) * np.uint8(10) + (data[at + 1] - _ZERO)
    return number


def may_hold_exponents(texts: pa.StringArray) -> bool:
    """Return whether somewhere in the texts a digit, an ``e`` and a digit or ``+`` stand side by side."""
    data, starts = text_buffers(texts)
    data = data[starts[0] : starts[-1]]
    at = np.flatnonzero((data[1:-1] | 0x20) == ord("e")) if len(data) > 2 else np.empty(0, dtype=np.int64)  # noqa: PLR2004
    if not len(at):
        return False
    before, after = data[at] - _ZERO, data[at + 2]
    return bool(np.any((before < 10) & ((after - _ZERO < 10) | (after == _PLUS))))  # noqa: PLR2004 - ten digits
