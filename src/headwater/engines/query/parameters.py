"""Typed parameters of SQL endpoints: what a caller sends becomes exactly typed values, or a list of what is wrong.

Values are only ever bound to a prepared statement. Text (from a query string) and JSON (from a body) come to the same
values; neither is guessed at: ``1.0`` is no integer and ``yes`` no boolean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from headwater.contracts.grammar import TextPattern
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec

DUCKDB_TYPES: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "string": "VARCHAR",
        "integer": "BIGINT",
        "number": "DOUBLE",
        "decimal": None,  # a decimal is bound with the digits it came with
        "boolean": "BOOLEAN",
        "date": "DATE",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
    }
)
_INT64: Final = range(-(2**63), 2**63)
_DECIMAL_DIGITS: Final = 38
_MAX_TEXT: Final = 65_536
_RELATIVE: Final = re.compile(r"today(?:([+-])([0-9]{1,4})([dw]))?", re.ASCII)
_SPAN: Final = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_UNITS: Final = MappingProxyType({"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800})
_UNIT_WORDS: Final = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


class ParameterFault(ValueError):
    """A value is not what its parameter asks for."""


def duckdb_types(specs: Sequence[ParameterSpec]) -> dict[str, str | None]:
    """Return the type each parameter is cast to where it stands in the SQL."""
    return {spec.name: _duckdb_type(spec) for spec in specs}


def _duckdb_type(spec: ParameterSpec) -> str | None:
    type_ = DUCKDB_TYPES[spec.type]
    return f"{type_}[]" if spec.is_list and type_ is not None else type_


@lru_cache(maxsize=1_024)
def compile_pattern(pattern: str) -> TextPattern:
    """Return a parameter's pattern in RE2 syntax, which takes linear time whatever a caller sends.

    Raises:
        ParameterFault: it is no such pattern.
    """
    try:
        return TextPattern(pattern)
    except ValueError as error:
        raise ParameterFault(f"the pattern is not a regular expression in RE2 syntax: {error}") from error


def read_value(spec: ParameterSpec, raw: Any, *, is_text: bool) -> Any:
    """Return the typed value of one parameter.

    Args:
        spec: what is asked for.
        raw: text of a query string (``is_text``), or a JSON value, where None is NULL.
        is_text: whether ``raw`` came as text whatever its type.

    Raises:
        ParameterFault: saying what was expected.
    """
    if raw is None:
        if spec.required:
            raise ParameterFault("must not be null")
        return None
    if spec.is_list:
        return _read_list(spec, raw, is_text=is_text)
    return _read_one(spec, raw, is_text)


def _read_one(spec: ParameterSpec, raw: Any, is_text: bool) -> Any:
    value = _READERS[spec.type](raw, is_text)
    _check_bounds(spec, value)
    return value


def _read_list(spec: ParameterSpec, raw: Any, *, is_text: bool) -> list[Any]:
    items = [raw] if is_text and isinstance(raw, str) else raw
    if not isinstance(items, list):
        raise ParameterFault(f"must be a list of {spec.type}")
    if len(items) > spec.max_items:
        raise ParameterFault(f"may have {spec.max_items} values")
    return [_read_one(spec, item, is_text) for item in items]


def bind(
    specs: Mapping[str, ParameterSpec], given: Mapping[str, Any], *, is_text: bool, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a value for every parameter: the given one, else its default, else None.

    Args:
        specs: the endpoint's parameters by name.
        given: what the caller sent.
        is_text: whether the values came as text of a query string.
        defaults: typed defaults, by ``typed_defaults``.

    Raises:
        HeadwaterError: ``parameter_invalid`` whose ``errors`` list every unknown, missing and ill-typed parameter.
    """
    faults: list[dict[str, Any]] = []
    values: dict[str, Any] = {}
    for name, spec in specs.items():
        if name not in given:
            if spec.required:
                faults.append({"parameter": name, "message": f"is required ({spec.type})"})
            values[name] = defaults.get(name)
            continue
        try:
            values[name] = read_value(spec, given[name], is_text=is_text)
        except ParameterFault as fault:
            faults.append({"parameter": name, "message": str(fault)})
    if not faults:
        faults += _check_spans(specs, values)
    faults.extend({"parameter": name[:64], "message": "is not a parameter"} for name in given if name not in specs)
    if faults:
        raise parameter_invalid(faults, specs)
    return values


def _check_spans(specs: Mapping[str, ParameterSpec], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return which dates are too far behind others."""
    faults = []
    for name, spec in specs.items():
        for other, seconds in spec.max_span.items():
            if values[name] is None or values.get(other) is None:
                continue
            if (values[name] - values[other]).total_seconds() > seconds:
                message = f"may be at most {describe_span(seconds)} after {other}"
                faults.append({"parameter": name, "message": message})
    return faults


def parameter_invalid(faults: Sequence[Mapping[str, Any]], specs: Mapping[str, ParameterSpec]) -> HeadwaterError:
    """Return the error for parameters that are not as they should be."""
    known = ", ".join(f"{spec.name} ({spec.type})" for spec in specs.values()) or "none"
    detail = "; ".join(f"{fault['parameter']} {fault['message']}" for fault in faults[:5])
    return HeadwaterError("parameter_invalid", detail, hint=f"parameters: {known}", extra={"errors": list(faults)})


def typed_defaults(specs: Sequence[ParameterSpec]) -> dict[str, Any]:
    """Return the default of every parameter that has a fixed one, typed as a caller's value would be."""
    return {
        spec.name: read_value(spec, spec.default, is_text=isinstance(spec.default, str) and spec.type != "string")
        for spec in specs
        if spec.default is not None
    }


def relative_defaults(specs: Sequence[ParameterSpec], now: datetime) -> dict[str, Any]:
    """Return the defaults that depend on the day: days in UTC, and their first instants."""
    values: dict[str, Any] = {}
    for spec in specs:
        if spec.relative is not None:
            day = now.astimezone(UTC).date() + read_relative(spec.relative)
            values[spec.name] = day if spec.type == "date" else datetime.combine(day, time(), UTC)
    return values


def read_relative(text: str) -> timedelta:
    """Return how far from today ``today``, ``today-7d`` or ``today+2w`` is.

    Raises:
        ParameterFault: it is none of these.
    """
    match = _RELATIVE.fullmatch(text)
    if match is None:
        raise ParameterFault("must be today, or such as today-7d or today+2w")
    sign, number, unit = match.groups()
    days = int(number or 0) * (7 if unit == "w" else 1)
    return timedelta(days=-days if sign == "-" else days)


def read_span(text: str) -> float:
    """Return the seconds of a span such as ``400d``, ``12h`` or ``2w``; raises ``ParameterFault``."""
    match = _SPAN.fullmatch(text)
    if match is None or not int(match[1]):
        raise ParameterFault("must be a span such as 400d, 12h or 2w")
    return float(int(match[1]) * _UNITS[match[2]])


def describe_span(seconds: float) -> str:
    """Return a span in its largest whole unit."""
    unit, size = next((unit, size) for unit, size in _UNIT_WORDS if seconds % size == 0 or size == 1)
    return f"{seconds / size:g} {unit}"


def to_plain(value: Any) -> Any:
    """Return a typed value as JSON holds it, so that equal values have equal text."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case list():
            return [to_plain(item) for item in value]
        case _:
            return value


def _check_bounds(spec: ParameterSpec, value: Any) -> None:
    if spec.values and to_plain(value) not in spec.values:
        raise ParameterFault(f"must be one of {', '.join(map(str, spec.values))[:200]}")
    if spec.ge is not None and value < spec.ge:
        raise ParameterFault(f"must be at least {spec.ge:g}")
    if spec.le is not None and value > spec.le:
        raise ParameterFault(f"must be at most {spec.le:g}")
    if spec.max_length is not None and len(value) > spec.max_length:
        raise ParameterFault(f"may have {spec.max_length} characters")
    if spec.pattern is not None and not compile_pattern(spec.pattern).matches(value):
        raise ParameterFault(f"must match {spec.pattern}")


def _string(raw: Any, _is_text: bool) -> str:
    if not isinstance(raw, str):
        raise ParameterFault("must be text")
    if len(raw) > _MAX_TEXT:
        raise ParameterFault(f"may have {_MAX_TEXT} characters")
    return raw


def _integer(raw: Any, is_text: bool) -> int:
    if is_text and _INTEGER.fullmatch(raw):
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ParameterFault("must be a whole number")
    if raw not in _INT64:
        raise ParameterFault("must fit into 64 bits")
    return raw


def _number(raw: Any, is_text: bool) -> float:
    if is_text and _NUMBER.fullmatch(raw):
        raw = float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or (isinstance(raw, int) and raw not in _INT64):
        raise ParameterFault("must be a number")
    if not math.isfinite(raw):
        raise ParameterFault("must be a finite number")
    return float(raw)


def _decimal(raw: Any, _is_text: bool) -> Decimal:
    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise ParameterFault('must be a decimal, such as "12.50"')
    if len(text.lstrip("-").replace(".", "").lstrip("0")) > _DECIMAL_DIGITS:
        raise ParameterFault(f"may have {_DECIMAL_DIGITS} digits")
    return Decimal(text)


def _boolean(raw: Any, is_text: bool) -> bool:
    if is_text and raw in ("true", "false"):
        return bool(raw == "true")
    if not isinstance(raw, bool):
        raise ParameterFault("must be true or false")
    return raw


def _date(raw: Any, _is_text: bool) -> date:
    if isinstance(raw, str) and _DATE.fullmatch(raw):
        try:
            return date.fromisoformat(raw)
        except ValueError:
            pass
    raise ParameterFault("must be a date, such as 2026-01-31")


def _timestamp(raw: Any, _is_text: bool) -> datetime:
    if isinstance(raw, str) and _TIMESTAMP.fullmatch(raw):
        try:
            return datetime.fromisoformat(raw.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ParameterFault("must be a timestamp with offset, such as 2026-01-31T12:00:00Z")


_READERS: Final[Mapping[str, Callable[[Any, bool], Any]]] = MappingProxyType(
    {
        "string": _string,
        "integer": _integer,
        "number": _number,
        "decimal": _decimal,
        "boolean": _boolean,
        "date": _date,
        "timestamp": _timestamp,
    }
)
