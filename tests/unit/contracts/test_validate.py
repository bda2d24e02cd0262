from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from tests.builders.contracts import make_every_type

from headwater.contracts.assembly import CHUNK_ROWS
from headwater.contracts.model import MAX_FIELDS, Constraints, Contract, Dedup, Field, Lateness, LogicalType
from headwater.contracts.rows import Columns, CsvDialect, Format, ReadLimits, RowFault
from headwater.contracts.types import arrow_schema, duckdb_type
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError

T = LogicalType
HOUR = 3_600_000_000
NOW = 1_790_000_000_000_000


def contract(*fields: Field, **changes: Any) -> Contract:
    return Contract("rows", "1.0", fields, **changes)


def validate(made: Contract, body: bytes, form: Format = Format.NDJSON, **options: Any) -> Columns:
    validator = compile_contract(made)
    return validator.columnise([validator.read(body, form, **options)], [NOW])


def codes(columns: Columns) -> list[tuple[int, str, str]]:
    return [(fault.row, error.code, error.path) for fault in columns.faults[0] for error in fault.errors]


def only_fault(columns: Columns) -> RowFault:
    (fault,) = columns.faults[0]
    return fault


def test_a_missing_field_takes_its_default_and_an_explicit_null_does_not() -> None:
    made = contract(Field("a", T.INTEGER), Field("b", T.INTEGER, has_default=True, default=7))
    columns = validate(made, b'{"a":1}\n{"a":2,"b":null}\n{"a":3,"b":0}')
    assert columns.batch.column("b").to_pylist() == [7, 0]
    assert codes(columns) == [(1, "null_not_allowed", "/b")]


@pytest.mark.parametrize("size", [1, 2, 100, CHUNK_ROWS + 1])
def test_fields_may_be_named_as_the_words_of_a_language(size: int) -> None:
    made = contract(
        Field("class", T.STRING), Field("at", T.TIMESTAMP), Field("from", T.STRUCT, fields=(Field("in", T.NUMBER),))
    )
    row = b'{"class":"a","at":"1970-01-01T00:00:01Z","from":{"in":2}}'
    batch = validate(made, b"\n".join([row] * size)).batch
    assert batch.column("class").to_pylist() == ["a"] * size
    assert batch.column("at").cast(pa.int64()).to_pylist() == [1_000_000] * size
    assert batch.column("from").to_pylist() == [{"in": 2.0}] * size


def test_a_row_of_a_clean_list_that_only_columns_doubt_is_told_with_its_bytes_and_place() -> None:
    made = contract(Field("at", T.TIMESTAMP), Field("n", T.INTEGER))
    rows = [b'{"at":"2026-01-31T09:30:00Z","n":1}', b'{ "at": "2026-02-30T09:30:00Z", "n": 2 }']
    columns = validate(made, b"[" + b" ,\n".join(rows) + b"] ", Format.JSON)
    fault = only_fault(columns)
    assert (fault.row, fault.line, fault.raw) == (1, None, rows[1])
    assert fault.byte_offset == 1 + len(rows[0]) + len(b" ,\n")
    assert columns.batch.column("n").to_pylist() == [1]


def test_a_list_may_be_longer_than_a_block_and_not_longer_than_allowed() -> None:
    made = contract(Field("n", T.INTEGER))
    body = b"[" + b",".join(b'{"n":%d}' % n for n in range(CHUNK_ROWS + 7)) + b"]"
    assert validate(made, body, Format.JSON).batch.column("n").to_pylist() == list(range(CHUNK_ROWS + 7))
    with pytest.raises(HeadwaterError, match="more than 1024"):
        compile_contract(made).read(body, Format.JSON, limits=ReadLimits(max_rows=CHUNK_ROWS))
    with pytest.raises(HeadwaterError, match="not valid JSON"):
        compile_contract(made).read(body[:-1], Format.JSON)


def test_an_optional_field_may_be_absent_but_not_null_unless_it_says_so() -> None:
    made = contract(Field("a", T.INTEGER, required=False), Field("b", T.INTEGER, required=False, nullable=True))
    columns = validate(made, b'{}\n{"b":null}\n{"a":null}')
    assert columns.batch.num_rows == 2
    assert codes(columns) == [(2, "null_not_allowed", "/a")]


def test_unknown_fields_are_kept_as_their_exact_bytes() -> None:
    made = contract(Field("a", T.INTEGER), Field("s", T.STRUCT, fields=(Field("x", T.INTEGER),), required=False))
    body = b'{"a":1,"new":{"k": 1.10},"b/c":"x"}\n{"a":2}\n{"a":3,"s":{"x":1,"deep":[1]}}'
    validator = compile_contract(made)
    batch = validator.read(body, Format.NDJSON)
    assert batch.extra_captured == 2
    columns = validator.columnise([batch], [NOW])
    assert columns.batch.column("_extra").to_pylist() == [
        '{"new":{"k": 1.10},"b/c":"x"}',
        None,
        '{"s":{"deep":[1]}}',
    ]


def test_unknown_fields_are_dropped_or_refused_as_the_contract_says() -> None:
    dropped = validate(contract(Field("a", T.INTEGER), on_unknown="drop"), b'{"a":1,"new":2}')
    assert dropped.batch.column("_extra").to_pylist() == [None]
    refused = validate(contract(Field("a", T.INTEGER), on_unknown="quarantine"), b'{"a":1,"new":2}')
    assert codes(refused) == [(0, "unknown_field", "/new")]


def test_an_alias_is_another_name_for_its_field() -> None:
    made = contract(
        Field("a", T.INTEGER, aliases=("old",)), Field("s", T.STRUCT, fields=(Field("x", T.INTEGER, aliases=("y",)),))
    )
    columns = validate(made, b'{"old":1,"s":{"x":1}}\n{"a":2,"s":{"y":2}}\n{"old":3,"a":4,"s":{"x":3}}')
    assert columns.batch.column("a").to_pylist() == [1, 2, 4]
    assert columns.batch.column("s").to_pylist() == [{"x": 1}, {"x": 2}, {"x": 3}]


def test_lenient_fields_take_what_means_the_same() -> None:
    fields = (
        Field("i", T.INTEGER, coerce="lenient"),
        Field("n", T.NUMBER, coerce="lenient"),
        Field("b", T.BOOLEAN, coerce="lenient"),
        Field("s", T.STRING, coerce="lenient"),
        Field("t", T.TIMESTAMP, coerce="lenient"),
        Field("u", T.UUID, coerce="lenient"),
    )
    uid = "CE6BA0BA-3ADB-48F8-9710-AB972DEF0123"
    body = f'{{"i":"1","n":"1.5","b":1,"s":5,"t":"2026-01-01T10:00:00.1234567Z","u":"{uid}"}}'.encode()
    (row,) = validate(contract(*fields), body).batch.to_pylist()
    assert (row["i"], row["n"], row["b"], row["s"], row["u"]) == (1, 1.5, True, "5", uid.lower())
    assert row["t"].microsecond == 123_456


def test_all_errors_of_a_row_are_listed_up_to_twenty() -> None:
    made = contract(*(Field(f"f{n}", T.INTEGER) for n in range(30)))
    assert len(only_fault(validate(made, b"{}")).errors) == 20
    errors = only_fault(validate(contract(Field("a", T.INTEGER), Field("b", T.DATE)), b'{"a":"x","b":1}')).errors
    assert [error.path for error in errors] == ["/a", "/b"]


def test_a_value_that_is_not_public_stays_out_of_errors_and_keys() -> None:
    secret = Field("card", T.STRING, constraints=Constraints(max_length=3), classification="confidential")
    made = contract(secret, Field("n", T.INTEGER), dedup=Dedup(("card",)))
    fault = only_fault(validate(made, b'{"card":"4111-1111","n":"x"}'))
    assert [error.actual for error in fault.errors] == ["<redacted>", '"x"']
    assert fault.key is None


def test_a_fault_names_the_rows_own_key() -> None:
    made = contract(Field("a", T.STRING), Field("b", T.INTEGER), Field("c", T.INTEGER), dedup=Dedup(("a", "b")))
    assert only_fault(validate(made, b'{"a":"x","b":7,"c":"?"}')).key == "x,7"
    assert only_fault(validate(made, b'{"a":"x","c":"?"}')).key is None


def test_a_long_value_is_cut_in_errors() -> None:
    fault = only_fault(validate(contract(Field("a", T.INTEGER)), b'{"a":"' + "é".encode() * 500 + b'"}'))
    assert fault.errors[0].actual == '"' + "é" * 63


LATE = Lateness(on_time=timedelta(hours=1), allowed=timedelta(days=1), late_action="quarantine")


def test_late_events_are_flagged_and_those_beyond_the_limit_refused() -> None:
    made = contract(
        Field("at", T.TIMESTAMP, constraints=Constraints(format="epoch_us")), event_time="at", lateness=LATE
    )
    ages = [0, HOUR, HOUR + 1, 24 * HOUR, 24 * HOUR + 1, -600_000_000, -600_000_001]
    columns = validate(made, b"\n".join(b'{"at":%d}' % (NOW - age) for age in ages))
    assert columns.batch.column("_hw_late").to_pylist() == [False, False, True, True, False]
    assert codes(columns) == [(4, "too_late", "/at"), (6, "in_future", "/at")]


def test_lateness_is_measured_against_the_receipt_of_each_body() -> None:
    made = contract(
        Field("at", T.TIMESTAMP, constraints=Constraints(format="epoch_us")), event_time="at", lateness=LATE
    )
    validator = compile_contract(made)
    batches = [validator.read(b'{"at":%d}' % NOW, Format.NDJSON) for _ in range(2)]
    columns = validator.columnise(batches, [NOW, NOW + 2 * HOUR])
    assert columns.batch.column("_hw_late").to_pylist() == [False, True]


def test_a_local_time_is_placed_in_its_zone_unless_it_occurs_twice_or_never() -> None:
    made = contract(Field("at", T.TIMESTAMP, default_timezone="America/New_York"))
    times = ["2013-07-01T10:00:00", "2013-11-03T01:30:00", "2013-03-10T02:30:00", "2013-07-01T10:00:00Z"]
    for padding in (0, 300):
        lines = [f'{{"at":"{text}"}}'.encode() for text in [times[0]] * padding + times]
        columns = validate(made, b"\n".join(lines))
        hours = [value.hour for value in columns.batch.column("at").to_pylist()]
        assert hours[padding:] == [14, 10]
        assert [row - padding for row, code, _ in codes(columns) if code == "invalid_timestamp"] == [1, 2]


def test_decimals_are_exact_in_numbers_and_in_text() -> None:
    made = contract(Field("d", T.DECIMAL, precision=20, scale=2, constraints=Constraints(ge=0, multiple_of=0.05)))
    body = b'{"d":123456789012345678.05}\n{"d":"0.10"}\n{"d":0.12}\n{"d":0.005}\n{"d":-1}\n{"d":1e18}'
    columns = validate(made, body)
    assert [str(value) for value in columns.batch.column("d").to_pylist()] == ["123456789012345678.05", "0.10"]
    assert [code for _, code, _ in codes(columns)] == ["out_of_range", "precision_loss", "out_of_range", "out_of_range"]


@pytest.mark.parametrize("form", list(Format))
def test_a_body_without_anything_is_empty(form: Format) -> None:
    for body in (b"", b"\n \r\n", b"\xef\xbb\xbf"):
        with pytest.raises(HeadwaterError) as caught:
            validate(contract(Field("a", T.INTEGER)), body, form)
        assert caught.value.code == "empty_body"


@pytest.mark.parametrize(
    "body", [b"[1,2", b'"x"', b'{"a":1}{"a":2}', b'[{"a":1},]', b'[{"a":"\xff"}]', b"nonsense", b"[" * 100_000]
)
def test_a_body_that_is_not_json_as_a_whole_is_refused(body: bytes) -> None:
    with pytest.raises(HeadwaterError) as caught:
        validate(contract(Field("a", T.INTEGER)), body, Format.JSON)
    assert caught.value.code == "malformed_body"


def test_json_bodies_come_in_three_shapes() -> None:
    made = contract(Field("a", T.INTEGER))
    for body, rows in ((b'[{"a":1},{"a":2}]', 2), (b'{"rows":[{"a":1},{"a":2}]}', 2), (b' {"a":1} ', 1), (b"[]", 0)):
        assert validate(made, body, Format.JSON).batch.num_rows == rows


def test_an_object_with_rows_is_a_row_where_the_contract_has_such_a_field() -> None:
    made = contract(Field("rows", T.ARRAY, items=Field("item", T.INTEGER)))
    assert validate(made, b'{"rows":[1,2]}', Format.JSON).batch.column("rows").to_pylist() == [[1, 2]]


def test_csv_columns_may_come_in_any_order_and_under_other_names() -> None:
    made = contract(Field("a", T.INTEGER, aliases=("old",)), Field("b", T.STRING, required=False))
    columns = validate(made, b"new,b,old\nx,hello,1\n,,2\n", Format.CSV)
    assert columns.batch.select(["a", "b", "_extra"]).to_pylist() == [
        {"a": 1, "b": "hello", "_extra": '{"new":"x"}'},
        {"a": 2, "b": None, "_extra": None},
    ]


def test_a_csv_header_wider_than_any_contract_is_refused_at_once() -> None:
    made = contract(Field("a", T.INTEGER))
    wide = ",".join(["a", *(f"x{n}" for n in range(MAX_FIELDS - 1))])
    assert validate(made, f"{wide}\n1{',' * (MAX_FIELDS - 1)}\n".encode(), Format.CSV).batch.num_rows == 1
    with pytest.raises(HeadwaterError, match="2,049 columns") as caught:
        validate(made, f"{wide},y\n".encode(), Format.CSV)
    assert caught.value.code == "malformed_body"


def test_a_csv_column_named_twice_is_named_in_the_error() -> None:
    made = contract(Field("a", T.INTEGER, aliases=("old",)))
    for header in (b"a,a", b"a,old", b"x,x"):
        with pytest.raises(HeadwaterError) as caught:
            validate(made, header + b"\n1,2\n", Format.CSV)
        assert caught.value.code == "malformed_body"
        assert caught.value.extra["column"] == header.decode().split(",")[1]


def test_quotes_tell_an_empty_text_from_null_and_hold_line_ends() -> None:
    made = contract(Field("a", T.STRING, nullable=True), Field("b", T.STRING))
    body = b'a,b\r\n"","two\r\nlines, one ""cell"""\r\n,x\r\n\r\nNA,"NA"\r\n'
    columns = validate(made, body, Format.CSV)
    assert columns.batch.select(["a", "b"]).to_pylist() == [
        {"a": "", "b": 'two\r\nlines, one "cell"'},
        {"a": None, "b": "x"},
        {"a": "NA", "b": "NA"},
    ]
    columns = validate(made, body, Format.CSV, dialect=CsvDialect(null="NA"))
    assert columns.batch.column("a").to_pylist() == ["", "", None]


def test_csv_faults_say_where_they_are() -> None:
    made = contract(Field("a", T.INTEGER), Field("b", T.STRING))
    body = b'a,b\n1,"x\ny"\n2\n3,"z"z\nx,"\xff"\n4,ok\n'
    columns = validate(made, body, Format.CSV)
    assert columns.batch.column("a").to_pylist() == [1, 4]
    faults = columns.faults[0]
    assert [(f.row, f.line, f.errors[0].code) for f in faults] == [
        (1, 4, "bad_column_count"),
        (2, 5, "malformed_csv"),
        (3, 6, "bad_encoding"),
    ]
    assert all(body[fault.byte_offset :].startswith(fault.raw) for fault in faults)


def test_csv_dialects_and_bodies_without_header() -> None:
    made = contract(Field("a", T.INTEGER), Field("b", T.STRING))
    columns = validate(made, b"1;'x;y'\n", Format.CSV, dialect=CsvDialect(delimiter=";", quote="'", header=False))
    assert columns.batch.to_pylist()[0]["b"] == "x;y"
    for dialect in (CsvDialect(delimiter="::"), CsvDialect(delimiter='"'), CsvDialect(quote="é")):
        with pytest.raises(HeadwaterError) as caught:
            validate(made, b"a,b\n1,x\n", Format.CSV, dialect=dialect)
        assert caught.value.code == "invalid_parameter"


def test_a_csv_quote_that_never_closes_names_its_line() -> None:
    with pytest.raises(HeadwaterError) as caught:
        validate(contract(Field("a", T.STRING)), b'a\nx\n"y\nz\n', Format.CSV)
    assert caught.value.code == "malformed_body"
    assert caught.value.extra["line"] == 3


def test_rows_beyond_a_chunk_keep_their_order_and_numbers() -> None:
    made = contract(Field("a", T.NUMBER), Field("t", T.DATE))
    count = 3 * CHUNK_ROWS + 7
    bad = {5, CHUNK_ROWS, 2 * CHUNK_ROWS + 1, count - 1}
    lines = [b'{"a":%d,"t":"2026-02-%d"}' % (n if n % 97 else 2**60, 30 if n in bad else 10) for n in range(count)]
    columns = validate(made, b"\n".join(lines))
    assert {fault.row for fault in columns.faults[0]} == bad
    assert list(columns.positions[0]) == [n for n in range(count) if n not in bad]
    expected = [float(n if n % 97 else 2**60) for n in range(count) if n not in bad]
    assert columns.batch.column("a").to_pylist() == expected


def test_limits_of_rows_bytes_and_depth() -> None:
    made = contract(Field("a", T.JSON))
    with pytest.raises(HeadwaterError) as caught:
        validate(made, b'{"a":1}\n\n{"a":1}', limits=ReadLimits(max_rows=1))
    assert caught.value.code == "too_many_rows"
    assert validate(made, b'\n{"a":1}\n', limits=ReadLimits(max_rows=1)).batch.num_rows == 1
    assert codes(validate(made, b'{"a":[[1]]}', limits=ReadLimits(max_depth=2))) == [(0, "too_deep", "")]
    assert codes(validate(made, b'{"a":"' + b"x" * 99 + b'"}', limits=ReadLimits(max_row_bytes=50))) == [
        (0, "row_too_large", "")
    ]


def test_keys_and_digests_do_not_depend_on_format_or_receipt() -> None:
    made = contract(
        Field("a", T.STRING),
        Field("n", T.INTEGER),
        Field("t", T.TIMESTAMP),
        dedup=Dedup(("a", "n")),
        event_time="t",
        lateness=Lateness(future_action="accept"),
    )
    validator = compile_contract(made)
    line = b'{"a":"x","n":7.0,"t":"2026-01-01T10:00:00+00:00"}'
    record = b"a,n,t\nx,7,2026-01-01T12:00:00+02:00\n"
    sources = [(line, Format.NDJSON), (b"[" + line + b"]", Format.JSON), (record, Format.CSV)]
    found = []
    for (body, form), received in zip(sources, (0, NOW, 2 * NOW), strict=True):
        found.append(validator.row_keys(validator.columnise([validator.read(body, form)], [received]).batch))
    assert found[0] is not None
    assert found[0] == found[1] == found[2]
    assert [len(key) for key in (*found[0].keys, *found[0].digests)] == [16, 16]


def test_keys_differ_where_values_do() -> None:
    made = contract(Field("a", T.STRING), Field("b", T.STRING), Field("c", T.INTEGER), dedup=Dedup(("a", "b")))
    validator = compile_contract(made)
    body = b'{"a":"x","b":"y","c":1}\n{"a":"xy","b":"","c":1}\n{"a":"x","b":"y","c":2}'
    keys = validator.row_keys(validator.columnise([validator.read(body, Format.NDJSON)], [NOW]).batch)
    assert keys is not None
    assert keys.keys[0] == keys.keys[2] != keys.keys[1]
    assert len(set(keys.digests)) == 3


def test_a_contract_without_a_key_has_no_row_keys() -> None:
    validator = compile_contract(contract(Field("a", T.INTEGER)))
    assert validator.row_keys(validator.columnise([validator.read(b'{"a":1}', Format.NDJSON)], [NOW]).batch) is None


def test_the_schema_is_the_contracts_fields_then_ours() -> None:
    made = make_every_type()
    validator = compile_contract(made)
    assert validator.schema.names[-2:] == ["_extra", "_hw_late"]
    assert pa.schema(list(validator.schema)[:-2]) == arrow_schema(made)
    assert validator.contract is made


def test_duckdb_names_the_types_that_tables_have() -> None:
    import duckdb

    made = make_every_type()
    table = pa.Table.from_batches([], schema=arrow_schema(made))
    with duckdb.connect() as connection:
        connection.register("t", table)
        found = {row[0]: row[1] for row in connection.execute("describe t").fetchall()}
    assert {field.name: duckdb_type(field).replace('"', "") for field in made.fields} == {
        name: kind.replace('"', "") for name, kind in found.items()
    }


def test_an_unsound_contract_is_not_compiled() -> None:
    with pytest.raises(HeadwaterError) as caught:
        compile_contract(contract(Field("a", T.STRUCT), Field("b", T.INTEGER, constraints=Constraints(ge="x"))))
    assert caught.value.code == "contract_invalid"
    assert [error["path"] for error in caught.value.extra["errors"]] == ["fields/a", "fields/b"]


def test_a_line_of_odd_white_space_is_a_bad_row() -> None:
    columns = validate(contract(Field("a", T.INTEGER)), b'{"a":1}\n\x0c\n \t\n{"a":2}')
    assert columns.batch.num_rows == 2
    assert codes(columns) == [(1, "malformed_json", "")]


@pytest.mark.parametrize(
    ("precision", "scale", "limits"),
    [(38, 0, {"ge": 0.05}), (38, 38, {"lt": 5, "ge": 0}), (38, 38, {"le": 10**60, "ge": 0}), (5, 2, {"gt": 0})],
)
def test_limits_of_decimals_hold_whatever_their_digits(precision: int, scale: int, limits: dict[str, Any]) -> None:
    field = Field("d", T.DECIMAL, precision=precision, scale=scale, constraints=Constraints(**limits))
    good = b'{"d":1}' if scale < precision else b'{"d":0.1}'
    columns = validate(contract(field), b"\n".join([good, b'{"d":-1}', b'{"d":-0.1}', good]))
    assert columns.batch.num_rows == 2
    assert {row for row, _, _ in codes(columns)} == {1, 2}
