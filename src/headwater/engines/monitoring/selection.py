"""Choosing logged predictions by an expression: the names it may use, and the SQL that finds what fulfils it.

Inputs and outputs go by their own names; where an input and an output share one it is the output, and
``input_<name>`` and ``output_<name>`` always say which is meant. So do ``version``, ``route`` and ``latency_ms``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from headwater.contracts.spec import contract_from_spec
from headwater.core.errors import HeadwaterError
from headwater.core.expressions import ExpressionFault, compile_expression
from headwater.core.expressions.terms import Type
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models.log_schema import INPUT_PREFIX, OUTPUT_PREFIX, log_schema
from headwater.engines.query.quoting import quote

MAX_ROWS: Final = 500
WHOLE_BPS: Final = 10_000
_OWN: Final = ("prediction_id", "version", "route", "principal_id", "predicted_at", "latency_us", "overrides")


class Selection(NamedTuple):
    """Which predictions: what they must fulfil, which first, which share by a hash of the identifier.

    The same prediction is in a share or out of it every time.
    """

    condition: str = ""
    priority: str = ""
    sample_bps: int = WHOLE_BPS
    since_us: int = 0


class Name(NamedTuple):
    """What a name in an expression is: its type there, and what DuckDB computes for it."""

    type: Type
    sql: str


def known_schema(versions: Iterable[ModelVersionSpec]) -> pa.Schema:
    """Return the schema of a model's log: the columns of all these versions."""
    fields: dict[str, pa.Field] = {}
    for version in versions:
        for field in log_schema(contract_from_spec(version.inputs).fields, version.outputs):
            fields.setdefault(field.name, field)
    return pa.schema(list(fields.values()))


def selection_names(schema: pa.Schema) -> dict[str, Name]:
    """Return the names that an expression about a log of this schema may use. Lists have none."""
    names: dict[str, Name] = {}
    own: dict[str, Name] = {}
    for field in schema:
        kind = _type_of(field.type)
        if kind is None:
            continue
        # Numbers in expressions are finite; a model may say what is not.
        column = quote(field.name)
        sql = f"(CASE WHEN isfinite({column}) THEN {column} END)" if kind == "number" else column
        if field.name.startswith(INPUT_PREFIX):
            own.setdefault(field.name.removeprefix(INPUT_PREFIX), Name(kind, sql))
            names[field.name] = Name(kind, sql)
        elif field.name.startswith(OUTPUT_PREFIX):
            own[field.name.removeprefix(OUTPUT_PREFIX)] = Name(kind, sql)
            names[field.name] = Name(kind, sql)
    fixed = {
        "version": Name("integer", "version"),
        "route": Name("string", "route"),
        "latency_ms": Name("number", "(latency_us / 1000.0)::DOUBLE"),
    }
    return {**fixed, **own, **names}


def check_selection(text: str, names: Mapping[str, Name], *, wanted: Type = "boolean") -> None:
    """Raise ``invalid_parameter`` unless ``text`` is an expression over ``names`` of the type ``wanted``."""
    _compiled(text, names, wanted)


def selection_sql(schema: pa.Schema, wanted: Selection) -> str:
    """Return the statement that finds predictions behind ``$after`` up to ``$newest``, oldest first, ``$limit``.

    It is for ``str.format``, which puts the table in the place of ``{log}``.

    Raises:
        HeadwaterError: ``invalid_parameter`` with the place and the cure.
    """
    names = selection_names(schema)
    columns = {name: found.sql for name, found in names.items()}
    where = ["_hw_seq > $after", "_hw_seq <= $newest", "predicted_at >= make_timestamptz($since_us)"]
    where.append("route <> 'shadow'")
    if wanted.condition:
        where.append(f"({_compiled(wanted.condition, names, 'boolean').sql(columns)})")
    if wanted.sample_bps < WHOLE_BPS:
        where.append(f"md5_number_lower(prediction_id) % {WHOLE_BPS} < {int(wanted.sample_bps)}")
    rank = _compiled(wanted.priority, names, "number").sql(columns) if wanted.priority else "0"
    shown = [quote(field.name) for field in schema if field.name in _OWN or _is_value(field.name)]
    listed = _literally(f"_hw_seq, {', '.join(shown)}, coalesce({rank}, 0)::DOUBLE AS _priority")
    condition = _literally(" AND ".join(where))
    return f"SELECT {listed} FROM {{log}} WHERE {condition} ORDER BY _hw_seq LIMIT $limit"  # noqa: S608 - names are quoted, expressions compiled


def shown_prediction(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a found row as it travels: inputs and outputs by their own names."""
    return {
        **{name: row[name] for name in _OWN if name in row},
        "seq": row["_hw_seq"],
        "priority": row["_priority"],
        "inputs": _members(row, INPUT_PREFIX),
        "outputs": _members(row, OUTPUT_PREFIX),
    }


def _members(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _compiled(text: str, names: Mapping[str, Name], wanted: Type) -> Any:
    try:
        found = compile_expression(text, {name: one.type for name, one in names.items()})
    except ExpressionFault as fault:
        raise HeadwaterError("invalid_parameter", f"{text[:200]!r}: {fault}") from fault
    allowed: Sequence[str] = ("number", "integer", "null") if wanted == "number" else (wanted, "null")
    if found.type not in allowed:
        raise HeadwaterError("invalid_parameter", f"{text[:200]!r} is a {found.type}, and a {wanted} is needed")
    return found


def _literally(sql: str) -> str:
    return sql.replace("{", "{{").replace("}", "}}")


def _is_value(name: str) -> bool:
    return name.startswith((INPUT_PREFIX, OUTPUT_PREFIX))


def _type_of(kind: pa.DataType) -> Type | None:
    if pa.types.is_floating(kind):
        return "number"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "string" if pa.types.is_string(kind) else None
