from __future__ import annotations

import io
import json
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from headwater.engines.query.protocol import Column
from headwater.services.query.encoding import make_encoder, unique_columns
from headwater.services.query.formats import ResultFormat


def encode(sql: str, form: ResultFormat) -> bytes:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(sql)
    columns = tuple(Column(name, str(type_)) for name, type_, *_ in connection.description)
    reader = connection.to_arrow_reader(2)
    encoder = make_encoder(form, columns, reader.schema)
    return b"".join((encoder.begin({"row_count": 0}), *(encoder.encode(batch) for batch in reader), encoder.end()))


def plain(expression: str) -> Any:
    return json.loads(encode(f"select {expression} as x", ResultFormat.JSON))["data"][0]["x"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("null", None),
        ("true", True),
        ("42", 42),
        ("9007199254740991", 2**53 - 1),
        ("9007199254740992", "9007199254740992"),
        ("-9007199254740992", "-9007199254740992"),
        ("18446744073709551615::ubigint", "18446744073709551615"),
        ("(select sum(i) from range(10) r(i))", 45),
        ("170141183460469231731687303715884105727::hugeint", "170141183460469231731687303715884105727"),
        ("1.50::decimal(10, 2)", "1.50"),
        ("0.000000001::decimal(38, 9)", "0.000000001"),
        ("1.5::double", 1.5),
        ("'nan'::double", None),
        ("'-infinity'::double", None),
        ("'ünï\"'", 'ünï"'),
        ("''", ""),
        ("date '2024-02-29'", "2024-02-29"),
        ("time '10:00:00.5'", "10:00:00.500000"),
        ("timestamptz '2026-01-31 14:00:00+02:00'", "2026-01-31T12:00:00Z"),
        ("timestamptz '2026-01-31 12:00:00.000001+00'", "2026-01-31T12:00:00.000001Z"),
        ("timestamp '2026-01-31 12:00:00'", "2026-01-31T12:00:00.000000"),
        ("'infinity'::timestamptz", "infinity"),
        ("timestamp '20000-01-01 00:00:00'", "20000-01-01T00:00:00.000000"),
        ("interval '1 year 2 months 3 days 4.5 seconds'", "P1Y2M3DT4.5S"),
        ("interval '0 days'", "PT0S"),
        ("'\\x00\\xff'::blob", "AP8="),
        ("uuid '6f786704-f2b1-4e1b-95f8-9b306f00eac7'", "6f786704-f2b1-4e1b-95f8-9b306f00eac7"),
        ("'a'::enum('a', 'b')", "a"),
        ("'{\"a\": 1}'::json", '{"a": 1}'),
        ("[1, null, 9007199254740992]", [1, None, "9007199254740992"]),
        ("{'a': 1.50::decimal(4, 2), 'b': ['nan'::double]}", {"a": "1.50", "b": [None]}),
        ("map {'k': timestamptz '2026-01-01 00:00:00+00'}", {"k": "2026-01-01T00:00:00Z"}),
        ("{'t': timestamp '2026-01-01 00:00:00'}", {"t": "2026-01-01T00:00:00"}),
    ],
)
def test_json_holds_every_value_without_loss(expression: str, value: Any) -> None:
    assert plain(expression) == value
    assert type(plain(expression)) is type(value)


def test_a_column_with_nulls_holds_the_same_values() -> None:
    instant = "timestamptz '2026-01-01 00:00:00+00'"
    sql = f"select i as n, i / 2 as f, {instant} as t from range(2) r(i) union all select null, null, null"
    rows = [json.loads(line) for line in encode(sql, ResultFormat.NDJSON).splitlines()]
    assert rows == [
        {"n": 0, "f": 0.0, "t": "2026-01-01T00:00:00Z"},
        {"n": 1, "f": 0.5, "t": "2026-01-01T00:00:00Z"},
        {"n": None, "f": None, "t": None},
    ]


def test_csv_tells_null_from_empty_text_and_quotes_what_needs_it() -> None:
    text = encode(
        "select null::varchar as a, '' as b, 'x,\"y\"' as c, 0.0000001::decimal(20, 10) as d", ResultFormat.CSV
    )
    assert text.decode().splitlines()[1] == ',"","x,""y""","0.0000001000"'
    types = pa_csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    row = pa_csv.read_csv(io.BytesIO(text), convert_options=types).slice(0, 1).to_pylist()[0]
    assert (row["a"], row["b"], row["c"]) == (None, "", 'x,"y"')


def test_columns_of_one_name_are_told_apart() -> None:
    names = [
        column.name for column in unique_columns(tuple(Column(name, "INTEGER") for name in ("a", "a", "a_2", "b", "a")))
    ]
    assert len(set(names)) == 5
    assert names[0] == "a"


def test_a_result_without_rows_is_complete_in_every_format() -> None:
    sql = "select 1 as a, 'x'::enum('x') as e where false"
    assert json.loads(encode(sql, ResultFormat.JSON))["data"] == []
    assert encode(sql, ResultFormat.NDJSON) == b""
    assert encode(sql, ResultFormat.CSV) == b'"a","e"\n'
    assert pa.ipc.open_stream(encode(sql, ResultFormat.ARROW)).read_all().num_rows == 0


def test_enumerations_inside_other_values_can_be_read_in_arrow() -> None:
    sql = "select {'e': 'b'::enum('a', 'b')} as s, ['b'::enum('a', 'b')] as l from range(2)"
    rows = pa.ipc.open_stream(encode(sql, ResultFormat.ARROW)).read_all().to_pylist()
    assert rows == [{"s": {"e": "b"}, "l": ["b"]}] * 2
