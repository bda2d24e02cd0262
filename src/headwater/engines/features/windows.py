"""Windows of time and the steps in which they slide.

A window slides in steps of a fiftieth to a hundredth of its length: what an entity did is kept by step, so a window of
a year costs no more than one of an hour. At instant ``t`` a window of length ``w`` with step ``s`` holds what happened
from the last multiple of ``s`` that is not later than ``t - w``, up to and including ``t``.
"""

from __future__ import annotations

import re
from typing import Final

SECOND: Final = 1_000_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_TEXT: Final = re.compile(r"([0-9]{1,6})\s*([smhd])")
SHORTEST_SECONDS: Final = 60
LONGEST_SECONDS: Final = 365 * 86_400
_STEPS: Final = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800)
_LEAST_STEPS: Final = 48
#: 400 years of the calendar are a whole number of weeks: added, they make instants before 1970 divide like others.
ERA_US: Final = 146_097 * 86_400 * SECOND


def parse_seconds(text: object) -> int | None:
    """Return the seconds of a duration such as ``90s``, ``5m``, ``24h`` or ``30d``; None when it is none."""
    match = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
    return int(match[1]) * _UNITS[match[2]] if match else None


def format_seconds(seconds: int) -> str:
    """Return the shortest text that ``parse_seconds`` reads as ``seconds``."""
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def step_us(window_seconds: int) -> int:
    """Return the step, in microseconds, in which a window slides."""
    fitting = [step for step in _STEPS if step * _LEAST_STEPS <= window_seconds]
    return max(fitting, default=1) * SECOND
