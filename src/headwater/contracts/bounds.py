"""Ranges of comparable values: said in a contract, held against one value or against a column."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contracts.model import Constraints

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
INTEGER_FORMATS: Final = {
    f"{sign}{bits}": (0, min(2**bits - 1, INT64_MAX)) if sign == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in "iu"
    for bits in (8, 16, 32, 64)
}
"""What the formats of ODCS integers allow, within the 64 bits that a table holds."""

_OPERATORS: Final[tuple[tuple[str, str, Callable[[Any, Any], Any]], ...]] = (
    ("ge", ">=", operator.ge),
    ("gt", ">", operator.gt),
    ("le", "<=", operator.le),
    ("lt", "<", operator.lt),
)
_ARROW_COMPARISONS: Final = {"ge": pc.greater_equal, "gt": pc.greater, "le": pc.less_equal, "lt": pc.less}
_TOLERANCE: Final = 1e-9


class Bounds:
    """Up to four limits. ``parse`` brings a limit as the contract says it to what values are compared as."""

    def __init__(self, constraints: Constraints, parse: Callable[[Any], Any] = lambda limit: limit) -> None:
        """Read the limits out of ``constraints``."""
        self._limits = [
            (key, sign, compare, parse(said), said)
            for key, sign, compare in _OPERATORS
            if (said := getattr(constraints, key)) is not None
        ]

    def __bool__(self) -> bool:
        return bool(self._limits)

    def violation(self, value: Any) -> tuple[str, dict[str, Any]] | None:
        """Return the first limit that ``value`` breaks, as a sentence and as ``expected``."""
        for key, sign, compare, limit, said in self._limits:
            if not compare(value, limit):
                return f"must be {sign} {said}", {key: said}
        return None

    def arrow_limits(self) -> Iterator[tuple[Callable[[pa.Array, pa.Scalar], pa.Array], pa.Scalar]]:
        """Yield each limit as an Arrow comparison and its right-hand side."""
        for key, _, _, limit, _ in self._limits:
            yield _ARROW_COMPARISONS[key], pa.scalar(limit)

    def misses(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the indices of the values outside."""
        outside = np.zeros(len(values), dtype=bool)
        for _, _, compare, limit, _ in self._limits:
            outside |= ~compare(values, limit)
        return np.flatnonzero(outside)


def integer_range(constraints: Constraints) -> tuple[int, int]:
    """Return the least and the greatest integer that the limits, the format and 64 bits allow."""
    low, high = INTEGER_FORMATS.get(constraints.format or "i64", (INT64_MIN, INT64_MAX))
    if constraints.ge is not None:
        low = max(low, math.ceil(_number(constraints.ge)))
    if constraints.gt is not None:
        low = max(low, math.floor(_number(constraints.gt)) + 1)
    if constraints.le is not None:
        high = min(high, math.floor(_number(constraints.le)))
    if constraints.lt is not None:
        high = min(high, math.ceil(_number(constraints.lt)) - 1)
    return low, high


def _number(limit: float | str) -> int | float:
    assert not isinstance(limit, str), "the limit of a number is a number"
    return limit


def is_multiple(value: float, step: float) -> bool:
    """Return whether ``value`` is a multiple of ``step``: exactly for integers, to a billionth for doubles."""
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    quotient = value / step
    return math.isfinite(quotient) and abs(quotient - round(quotient)) <= _TOLERANCE * max(1.0, abs(quotient))


def multiple_misses(values: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.int64]:
    """Return the indices of the values that are no multiples of ``step``; NaN stands for null and passes."""
    with np.errstate(over="ignore", invalid="ignore"):
        quotients = values / step
        distance = np.abs(quotients - np.rint(quotients))
        wrong = ~(distance <= _TOLERANCE * np.maximum(1.0, np.abs(quotients))) & ~np.isnan(values)
    return np.flatnonzero(wrong)
