"""Parameters as an endpoint file declares them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.endpoint_header import NAME, Faults
from headwater.engines.query.parameters import (
    ParameterFault,
    compile_pattern,
    read_relative,
    read_span,
    read_value,
    to_plain,
)

_DATES = ("date", "timestamp")
_MAX_ITEMS = 1_000


class _Parameter(BaseModel):
    """A parameter as written; a list has ``[]`` behind its type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    type: Literal["string", "integer", "number", "decimal", "boolean", "date", "timestamp"]
    required: bool = False
    default: Any = None
    description: str = ""
    values: tuple[Any, ...] = ()
    values_from: str | None = None
    ge: float | None = None
    le: float | None = None
    max_length: int | None = Field(None, ge=0)
    max_items: int | None = Field(None, ge=1, le=_MAX_ITEMS)
    max_span: dict[str, str] = {}
    pattern: str | None = None


def read_parameters(declared: Mapping[str, dict[str, Any]], faults: Faults) -> Iterator[ParameterSpec]:
    """Return the parameters that are as they should be, and note what is wrong with the others."""
    found: list[ParameterSpec] = []
    for name, members in declared.items():
        type_ = members.get("type")
        is_list = isinstance(type_, str) and type_.endswith("[]")
        plain = {**members, "name": name} | ({"type": str(type_)[:-2]} if is_list else {})
        try:
            parsed = _Parameter.model_validate(plain)
        except ValidationError as error:
            faults.add_all(
                error, ("parameters", name), lambda: f"one of: {', '.join(set(_Parameter.model_fields) - {'name'})}"
            )
            continue
        problem = _misfit(parsed, is_list=is_list)
        if problem:
            faults.add(f"parameters.{name}", problem)
            continue
        try:
            found.append(_to_spec(parsed, is_list=is_list))
        except ParameterFault as fault:
            faults.add(f"parameters.{name}", f"its own default or values are not valid: {fault}")
    _check_spans(found, faults)
    yield from found


def plain_value(spec: ParameterSpec, raw: Any) -> Any:
    """Return a value that YAML holds in the one form it has in JSON; raises ``ParameterFault``."""
    if spec.is_list and isinstance(raw, list):
        one = spec.model_copy(update={"is_list": False})
        return [plain_value(one, item) for item in raw]
    if spec.type == "decimal" and isinstance(raw, float):
        raw = repr(raw)
    return to_plain(read_value(spec, to_plain(raw), is_text=False))


def _misfit(spec: _Parameter, *, is_list: bool) -> str | None:
    """Return what in a parameter contradicts itself."""
    is_number = spec.type in ("integer", "number", "decimal")
    faults = (
        ((spec.ge is not None or spec.le is not None) and not is_number, "ge and le are for numbers"),
        (
            (spec.max_length is not None or spec.pattern is not None) and spec.type != "string",
            "max_length and pattern are for strings",
        ),
        (spec.max_span and (spec.type not in _DATES or is_list), "max_span is for a date or a timestamp"),
        (spec.max_items is not None and not is_list, "max_items is for lists, such as string[]"),
        (spec.required and spec.default is not None, "a required parameter has no default"),
        (spec.values and spec.values_from is not None, "values and values_from exclude each other"),
    )
    for is_so, message in faults:
        if is_so:
            return message
    return _unreadable(spec)


def _unreadable(spec: _Parameter) -> str | None:
    """Return why its pattern or the query of its values cannot be used."""
    if spec.pattern is not None:
        try:
            compile_pattern(spec.pattern)
        except ParameterFault as fault:
            return str(fault)
    if spec.values_from is None:
        return None

    # Brings DuckDB, which who only reads the file's header has no use for.
    from headwater.engines.query.walk import check_query  # noqa: PLC0415

    try:
        query = check_query(spec.values_from)
    except HeadwaterError as error:
        return f"values_from: {error.detail}"
    if query.parameters or query.reads_clock:
        return "values_from may use no parameter, nor the time: what may be asked depends on the data alone"
    return None


def _to_spec(parsed: _Parameter, *, is_list: bool) -> ParameterSpec:
    """Return the parameter with default and values in the one form they have in JSON (YAML reads dates by itself)."""
    members = parsed.model_dump(exclude={"values", "default", "max_span", "max_items"})
    spans = {other: read_span(text) for other, text in parsed.max_span.items()}
    bare = ParameterSpec(**members, is_list=is_list, max_items=parsed.max_items or 100, max_span=spans)
    one = bare.model_copy(update={"is_list": False})
    spec = bare.model_copy(update={"values": tuple(plain_value(one, value) for value in parsed.values)})
    if parsed.type in _DATES and isinstance(parsed.default, str) and parsed.default.startswith("today"):
        read_relative(parsed.default)
        return spec.model_copy(update={"relative": parsed.default})
    default = None if parsed.default is None else plain_value(spec, parsed.default)
    return spec.model_copy(update={"default": default})


def _check_spans(specs: list[ParameterSpec], faults: Faults) -> None:
    types = {spec.name: spec.type for spec in specs}
    for spec in specs:
        for other in spec.max_span:
            if types.get(other) != spec.type or other == spec.name:
                faults.add(f"parameters.{spec.name}.max_span", f"{other!r} is no other parameter of type {spec.type}")
