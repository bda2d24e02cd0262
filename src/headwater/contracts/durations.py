"""Durations as people write them in contracts: ``30d``, ``90m``, ``1500ms``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_DURATION = re.compile(r"([0-9]{1,12})(us|ms|s|m|h|d|w)")


def parse_duration(text: str) -> timedelta:
    """Return the duration that ``text`` names; raises ValueError with the cure."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration; write a whole number and w, d, h, m, s, ms or us, such as 7d")
    unit = timedelta(weeks=1) if found[2] == "w" else _UNITS[found[2]]
    try:
        return int(found[1]) * unit
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than a duration can be") from error


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that ``parse_duration`` reads back."""
    for name, unit in _UNITS.items():
        if duration % unit == timedelta(0) and (duration or name == "s"):
            return f"{duration // unit}{name}"
    return f"{duration // _UNITS['us']}us"
