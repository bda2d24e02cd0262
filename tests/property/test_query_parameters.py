"""A parameter's value comes back exactly as it was given, whatever it is: it is bound, never spliced."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.instance import DuckInstance, DuckLimits
from headwater.engines.query.parameters import duckdb_types, read_value, to_plain
from headwater.engines.query.walk import check_query

TEXTS = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60),
    st.sampled_from(
        ["' OR 1=1 --", "'; SELECT 1; --", "$x", '"', "\\", "/* */", "%s", "{}", "\x00", "1); DROP TABLE t"]
    ),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "integer": st.integers(-(2**63), 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12),
    "boolean": st.booleans(),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
}


@pytest.fixture(scope="module")
def instance() -> Any:
    with DuckInstance(None, DuckLimits(1 << 28, 1)) as one:
        yield one


def as_text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case date() | datetime():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case _:
            return str(value)


@pytest.mark.parametrize("type_", sorted(VALUES))
@given(data=st.data())
def test_a_value_comes_back_as_it_was_given(instance: DuckInstance, type_: Any, data: st.DataObject) -> None:
    value = data.draw(VALUES[type_])
    spec = ParameterSpec(name="x", type=type_)
    read = read_value(spec, as_text(value), is_text=True)
    assert read == value
    plain = to_plain(value) if type_ != "decimal" else as_text(value)
    assert read_value(spec, json.loads(json.dumps(plain)), is_text=False) == value
    query = check_query("select $x as x, $x is null as absent", tables=(), parameter_types=duckdb_types([spec]))
    with instance.start(query, {"x": read}, {}, batch_rows=10) as reading:
        (row,) = [row for batch in reading.batches() for row in batch.to_pylist()]
    assert row == {"x": value, "absent": False}


@given(text=TEXTS)
def test_a_text_never_changes_what_a_statement_means(instance: DuckInstance, text: str) -> None:
    query = check_query("select count(*) as n from range(3) r(i) where $x = 'no such text'", tables=())
    with instance.start(query, {"x": text}, {}, batch_rows=10) as reading:
        assert [batch.to_pylist() for batch in reading.batches()] == [[{"n": 0}]]
