"""Expressions as DuckDB SQL, for sets of rows. They answer exactly as the closures of ``closures`` do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from headwater.core.expressions.terms import Term

_TYPES: Final = {
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "string": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
    "null": "INTEGER",
}
_PARTS: Final = {"year": "year", "month": "month", "day": "day", "hour": "hour", "weekday": "isodow"}


def to_sql(term: Term, columns: Mapping[str, str]) -> str:
    """Return the SQL of a term; ``columns`` has the SQL of each name, of the name's type."""
    if term.op == "literal":
        return _literal(term)
    if term.op == "name":
        return columns[term.value]
    parts = [to_sql(part, columns) for part in term.parts]
    return _FORMS[term.op](term, parts)


def _literal(term: Term) -> str:
    value = term.value
    if value is None:
        return f"CAST(NULL AS {_TYPES[term.type]})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"CAST('{value!r}' AS {_TYPES[term.type]})"


def _finite(sql: str) -> str:
    # A list of one that is emptied names the value once, where a CASE would double it at every level.
    return f"list_filter([{sql}], lambda v: isfinite(v))[1]"


def _whole(sql: str) -> str:
    return f"TRY_CAST({sql} AS BIGINT)"


def _wide(sql: str) -> str:
    return f"CAST({sql} AS HUGEINT)"


def _infix(operator: str) -> Callable[[Term, list[str]], str]:
    return lambda _term, parts: f"({parts[0]} {operator} {parts[1]})"


def _in_integers(operator: str) -> Callable[[Term, list[str]], str]:
    return lambda _term, parts: _whole(f"({_wide(parts[0])} {operator} {parts[1]})")


def _in_numbers(operator: str) -> Callable[[Term, list[str]], str]:
    return lambda _term, parts: _finite(f"({parts[0]} {operator} {parts[1]})")


def _function(name: str) -> Callable[[Term, list[str]], str]:
    return lambda _term, parts: f"{name}({', '.join(parts)})"


def _case(_term: Term, parts: list[str]) -> str:
    *branches, otherwise = parts
    whens = " ".join(
        f"WHEN {condition} THEN {value}" for condition, value in zip(branches[::2], branches[1::2], strict=True)
    )
    return f"CASE {whens} ELSE {otherwise} END"


def _round(term: Term, parts: list[str]) -> str:
    factor = f"CAST('{term.value!r}' AS DOUBLE)"
    return _finite(f"(round({parts[0]} * {factor}) / {factor})")


def _part(term: Term, parts: list[str]) -> str:
    # By way of microseconds: the parts of a TIMESTAMPTZ depend on the session's time zone.
    return f"{_PARTS[term.op]}(make_timestamp(epoch_us({parts[0]})))"


_FORMS: Final[dict[str, Callable[[Term, list[str]], str]]] = {
    "and": _infix("AND"),
    "or": _infix("OR"),
    "not": lambda _term, parts: f"(NOT {parts[0]})",
    "is_null": lambda _term, parts: f"({parts[0]} IS NULL)",
    "in": lambda _term, parts: f"({parts[0]} IN ({', '.join(parts[1:])}))",
    "case": _case,
    "coalesce": _function("coalesce"),
    "min": _function("least"),
    "max": _function("greatest"),
    "number": lambda _term, parts: f"CAST({parts[0]} AS DOUBLE)",
    "negatei": lambda _term, parts: _whole(f"(-{_wide(parts[0])})"),
    "negatef": lambda _term, parts: f"(-{parts[0]})",
    "absi": lambda _term, parts: _whole(f"abs({_wide(parts[0])})"),
    "absf": _function("abs"),
    "round": _round,
    "floor": _function("floor"),
    "ln": lambda _term, parts: f"TRY(ln({parts[0]}))",
    "exp": lambda _term, parts: _finite(f"exp({parts[0]})"),
    "sqrt": lambda _term, parts: f"TRY(sqrt({parts[0]}))",
    "lower": _function("lower"),
    "upper": _function("upper"),
    "length": _function("length"),
    "contains": _function("contains"),
    "starts_with": _function("starts_with"),
    **dict.fromkeys(_PARTS, _part),
    **{operator: _infix(operator) for operator in ("=", "!=", "<", "<=", ">", ">=")},
    **{f"{operator}i": _in_integers(operator) for operator in "+-*%"},
    **{f"{operator}f": _in_numbers(operator) for operator in "+-*/%"},
}
