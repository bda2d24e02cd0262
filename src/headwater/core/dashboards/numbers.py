"""Numbers as dashboards show them: the part of d3's formats that the page and the export share."""

from __future__ import annotations

import re
from typing import Any, Final

ABSENT: Final = "\N{EN DASH}"
_PARTS: Final = re.compile(r"(?P<comma>,?)(?:\.(?P<digits>[0-9]))?(?P<kind>[fd%s]?)")
"""``FORMAT_PATTERN`` in its parts."""
_SHORT: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_WHOLE: Final = 1e15


def format_number(value: Any, form: str = "") -> str:
    """Return a number in the form ``,.1f``, ``.1%``, ``d`` or ``.1s``; without one with thousands apart, as precise."""
    number = as_number(value)
    if number is None:
        return ABSENT if value is None else str(value)
    match = _PARTS.fullmatch(form)
    if not form or match is None:
        return _plain(number)
    digits = int(match["digits"]) if match["digits"] else None
    return _formed(number, match["kind"] or "f", digits, comma="," if match["comma"] else "")


def as_number(value: Any) -> float | None:
    """Return a value as a number: as it is, or as the text in which exact decimals and long integers travel."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) != float("inf") and number == number else None  # noqa: PLR0124 - not a number


def _formed(number: float, kind: str, digits: int | None, *, comma: str) -> str:
    if kind == "%":
        return f"{number * 100:{comma}.{digits or 0}f}%"
    if kind == "d":
        return f"{round(number):{comma}d}"
    if kind == "s":
        for size, letter in _SHORT:
            if abs(number) >= size:
                return f"{number / size:.{1 if digits is None else digits}f}{letter}"
        return f"{number:.{digits or 0}f}"
    return f"{number:{comma}.{2 if digits is None else digits}f}"


def _plain(number: float) -> str:
    if number == round(number) and abs(number) < _WHOLE:
        return f"{round(number):,d}"
    return f"{number:,.2f}" if abs(number) >= 1 else f"{number:.4g}"
