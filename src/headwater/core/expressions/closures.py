"""Expressions as Python closures, for one row. They answer exactly as the SQL of ``sql`` does."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from headwater.core.expressions.terms import MAX_INTEGER, Term

Row = Mapping[str, Any]
Closure = Callable[[Row], Any]


def to_closure(term: Term) -> Closure:
    """Return the function from a row's values by name to the answer."""
    parts = [to_closure(part) for part in term.parts]
    if term.op in _SPECIAL:
        return _SPECIAL[term.op](term, parts)
    if len(parts) == 1:
        return _unary(_ONE[term.op], parts[0])
    return _binary(_TWO[term.op], parts[0], parts[1])


def _unary(function: Callable[[Any], Any], part: Closure) -> Closure:
    def evaluate(row: Row) -> Any:
        value = part(row)
        return None if value is None else function(value)

    return evaluate


def _binary(function: Callable[[Any, Any], Any], left: Closure, right: Closure) -> Closure:
    def evaluate(row: Row) -> Any:
        one = left(row)
        if one is None:
            return None
        other = right(row)
        return None if other is None else function(one, other)

    return evaluate


def _literal(term: Term, _parts: Sequence[Closure]) -> Closure:
    value = term.value
    return lambda _row: value


def _name(term: Term, _parts: Sequence[Closure]) -> Closure:
    name = term.value
    if term.type == "number":

        def number(row: Row) -> Any:
            value = row.get(name)
            return float(value) if type(value) is int else value

        return number
    return lambda row: row.get(name)


def _and(_term: Term, parts: Sequence[Closure]) -> Closure:
    left, right = parts

    def evaluate(row: Row) -> bool | None:
        one = left(row)
        if one is False:
            return False
        other = right(row)
        return False if other is False else None if one is None or other is None else True

    return evaluate


def _or(_term: Term, parts: Sequence[Closure]) -> Closure:
    left, right = parts

    def evaluate(row: Row) -> bool | None:
        one = left(row)
        if one is True:
            return True
        other = right(row)
        return True if other is True else None if one is None or other is None else False

    return evaluate


def _is_null(_term: Term, parts: Sequence[Closure]) -> Closure:
    (part,) = parts
    return lambda row: part(row) is None


def _in(term: Term, parts: Sequence[Closure]) -> Closure:
    part, members = parts[0], frozenset(item.value for item in term.parts[1:])

    def evaluate(row: Row) -> bool | None:
        value = part(row)
        return None if value is None else value in members

    return evaluate


def _case(_term: Term, parts: Sequence[Closure]) -> Closure:
    *branches, otherwise = parts
    pairs = list(pairwise(branches))[::2]

    def evaluate(row: Row) -> Any:
        for condition, value in pairs:
            if condition(row) is True:
                return value(row)
        return otherwise(row)

    return evaluate


def _coalesce(_term: Term, parts: Sequence[Closure]) -> Closure:
    return lambda row: next((value for part in parts if (value := part(row)) is not None), None)


def _extreme(term: Term, parts: Sequence[Closure]) -> Closure:
    choose: Callable[..., Any] = min if term.op == "min" else max
    return lambda row: choose((value for part in parts if (value := part(row)) is not None), default=None)


def _round(term: Term, parts: Sequence[Closure]) -> Closure:
    factor = term.value
    return _unary(lambda value: _finite(_half_away(value * factor) / factor), parts[0])


def _half_away(value: float) -> float:
    if not math.isfinite(value):
        return value
    size = abs(value)
    whole = math.floor(size)
    return math.copysign(float(whole + (size - whole >= 0.5)), value)  # noqa: PLR2004 - half


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _whole(value: int) -> int | None:
    return value if -MAX_INTEGER - 1 <= value <= MAX_INTEGER else None


def _remainder(one: int, other: int) -> int | None:
    """Return the remainder with the sign of what is divided, as SQL does."""
    return None if other == 0 else int(math.copysign(1, one)) * (abs(one) % abs(other))


def _remainder_of_numbers(one: float, other: float) -> float | None:
    return None if other == 0 else math.fmod(one, other)


def _divide(one: float, other: float) -> float | None:
    return None if other == 0 else _finite(one / other)


def _exp(value: float) -> float | None:
    try:
        return math.exp(value)
    except OverflowError:
        return None


@lru_cache(maxsize=4_096)
def _lower_letter(letter: str) -> str:
    return letter.lower()[0]  # one letter becomes one letter


@lru_cache(maxsize=4_096)
def _upper_letter(letter: str) -> str:
    if letter == "ß":
        return "ẞ"
    return next((form for form in (letter.upper(), letter.title()) if len(form) == 1), letter)


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(map(_lower_letter, text))


def _upper(text: str) -> str:
    return text.upper() if text.isascii() else "".join(map(_upper_letter, text))


def _utc(function: Callable[[datetime], int]) -> Callable[[datetime], int]:
    return lambda instant: function(instant.astimezone(UTC))


_SPECIAL: Final[dict[str, Callable[[Term, Sequence[Closure]], Closure]]] = {
    "literal": _literal,
    "name": _name,
    "and": _and,
    "or": _or,
    "is_null": _is_null,
    "in": _in,
    "case": _case,
    "coalesce": _coalesce,
    "min": _extreme,
    "max": _extreme,
    "round": _round,
}
_ONE: Final[dict[str, Callable[[Any], Any]]] = {
    "not": operator.not_,
    "number": float,
    "negatei": lambda value: _whole(-value),
    "negatef": operator.neg,
    "absi": lambda value: _whole(abs(value)),
    "absf": abs,
    "floor": lambda value: float(math.floor(value)),
    "ln": lambda value: math.log(value) if value > 0 else None,
    "exp": _exp,
    "sqrt": lambda value: math.sqrt(value) if value >= 0 else None,
    "lower": _lower,
    "upper": _upper,
    "length": len,
    "year": _utc(lambda instant: instant.year),
    "month": _utc(lambda instant: instant.month),
    "day": _utc(lambda instant: instant.day),
    "hour": _utc(lambda instant: instant.hour),
    "weekday": _utc(lambda instant: instant.isoweekday()),
}
_TWO: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+i": lambda one, other: _whole(one + other),
    "-i": lambda one, other: _whole(one - other),
    "*i": lambda one, other: _whole(one * other),
    "%i": _remainder,
    "+f": lambda one, other: _finite(one + other),
    "-f": lambda one, other: _finite(one - other),
    "*f": lambda one, other: _finite(one * other),
    "/f": _divide,
    "%f": _remainder_of_numbers,
    "contains": lambda text, part: part in text,
    "starts_with": str.startswith,
}
