"""Both forms of an expression give the same answer: the closure for a row and the SQL for a set of rows."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.expressions import compile_expression
from headwater.core.expressions.terms import Type

NAMES: dict[str, Type] = {
    "n": "integer",
    "m": "integer",
    "x": "number",
    "y": "number",
    "s": "string",
    "b": "boolean",
    "t": "timestamp",
}
SCHEMA = pa.schema(
    [
        ("n", pa.int64()),
        ("m", pa.int64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("t", pa.timestamp("us", "UTC")),
    ]
)

integers = st.one_of(st.integers(-5, 5), st.integers(-(1 << 63), (1 << 63) - 1))
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.5, -2.5, 1e308, -1e308, 5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
instants = st.datetimes(datetime(1901, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
rows = st.fixed_dictionaries(
    {
        "n": st.none() | integers,
        "m": st.none() | integers,
        "x": st.none() | numbers,
        "y": st.none() | numbers,
        "s": st.none() | texts,
        "b": st.none() | st.booleans(),
        "t": st.none() | instants,
    }
)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _infix(operators: list[str], part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, part, st.sampled_from(operators), part)


def _calls(names: list[str], *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda name, *args: f"{name}({', '.join(args)})", st.sampled_from(names), *parts)


@st.composite
def typed(draw: st.DrawFn, wanted: str, depth: int) -> str:
    """Return an expression of a type, nested at most ``depth`` deep."""
    leaves = {
        "integer": st.one_of(st.sampled_from(["n", "m"]), st.integers(0, 12).map(str)),
        "number": st.one_of(st.sampled_from(["x", "y"]), st.floats(0, 1e300).map(repr)),
        "string": st.one_of(st.just("s"), texts.map(_quoted)),
        "boolean": st.sampled_from(["b", "true", "false", "null"]),
        "timestamp": st.one_of(st.just("t"), instants.map(lambda t: f"timestamp('{t.isoformat()}')")),
    }
    if depth == 0:
        return draw(leaves[wanted])
    part = {name: typed(name, depth - 1) for name in leaves}
    any_number = part["integer"] | part["number"]
    made = {
        "integer": [
            _infix(["+", "-", "*", "%"], part["integer"]),
            _calls(["-", "abs", "min", "max"], part["integer"]),
            _calls(["min", "max", "coalesce"], part["integer"], part["integer"]),
            _calls(["hour", "weekday", "month", "day", "year"], part["timestamp"]),
            _calls(["length"], part["string"]),
        ],
        "number": [
            _infix(["+", "-", "*", "/"], any_number).map(lambda text: f"({text} + 0.0)"),
            _infix(["%"], part["number"]),
            _calls(["abs", "floor", "ln", "exp", "sqrt", "round"], any_number).map(lambda text: f"({text} * 1.0)"),
            _calls(["round"], any_number, st.integers(0, 4).map(str)),
            _calls(["min", "max", "coalesce"], part["number"], any_number),
        ],
        "string": [
            _calls(["lower", "upper"], part["string"]),
            _calls(["coalesce", "min", "max"], part["string"], part["string"]),
        ],
        "boolean": [
            _infix(["and", "or"], part["boolean"]),
            part["boolean"].map("(not {})".format),
            *(_infix(["=", "!=", "<", "<=", ">", ">="], part[name]) for name in ("integer", "string", "timestamp")),
            _infix(["=", "!=", "<", "<=", ">", ">="], any_number),
            _infix(["=", "!="], part["boolean"]),
            st.sampled_from(list(part)).flatmap(lambda name: part[name]).map("({} is null)".format),
            _calls(["contains", "starts_with"], part["string"], part["string"]),
            st.builds(
                "({} in ({}))".format, part["integer"], st.lists(st.integers(0, 5).map(str), min_size=1).map(", ".join)
            ),
            st.builds(
                "({} not in ({}))".format, part["string"], st.lists(texts.map(_quoted), min_size=1).map(", ".join)
            ),
        ],
        "timestamp": [_calls(["min", "max", "coalesce"], part["timestamp"], part["timestamp"])],
    }
    anything = [
        _calls(["if"], part["boolean"], part[wanted], part[wanted]),
        st.builds(
            "case when {} then {} when {} then {} else {} end".format,
            *(part[n] for n in ("boolean", wanted) * 2),
            part[wanted],
        ),
        leaves[wanted],
    ]
    text: str = draw(st.one_of(*made[wanted], *anything))
    return text


expressions = st.sampled_from(["integer", "number", "string", "boolean", "timestamp"]).flatmap(
    lambda name: typed(name, 3)
)
connection = duckdb.connect()
connection.execute("SET TimeZone = 'America/New_York'")  # the session's zone must not matter


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=1e-12)
    return type(one) is type(other) and one == other


@given(expressions, st.lists(rows, min_size=1, max_size=6))
def test_the_closure_and_the_sql_agree(text: str, given_rows: list[dict[str, Any]]) -> None:
    expression = compile_expression(text, NAMES)
    table = pa.Table.from_pylist(given_rows, SCHEMA)
    sql = expression.sql({name: f'"{name}"' for name in NAMES})
    found = connection.cursor().from_arrow(table).select(f"{sql} AS answer").to_arrow_table()["answer"].to_pylist()
    for row, answer in zip(given_rows, found, strict=True):
        mine = expression(row)
        assert same(mine, answer), f"{text} of {row}: closure {mine!r}, SQL {answer!r}: {sql}"
