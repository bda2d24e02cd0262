from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.builders.contracts import make_every_type
from tests.property.strategies import rows

from headwater.contracts.model import Contract
from headwater.contracts.rows import Columns, CsvDialect, Format, ReadLimits, Validator
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError

POLICIES = ("capture", "quarantine", "drop")
VALIDATORS: dict[str, Validator] = {policy: compile_contract(make_every_type(on_unknown=policy)) for policy in POLICIES}
FILLER = b'{"key":"a","count":1}'
NOW = 1_790_000_000_000_000


def run(validator: Validator, body: bytes, form: Format) -> Columns:
    batch = validator.read(body, form)
    columns = validator.columnise([batch], [NOW])
    columns.batch.validate(full=True)
    assert columns.batch.schema == validator.schema
    assert batch.received == columns.batch.num_rows + len(columns.faults[0])
    assert len(columns.positions[0]) == columns.batch.num_rows
    places = sorted([*columns.positions[0], *(fault.row for fault in columns.faults[0])])
    assert places == list(range(batch.received))
    assert list(columns.positions[0]) == sorted(columns.positions[0])
    return columns


@pytest.mark.parametrize("policy", POLICIES)
@given(lines=st.lists(rows(), min_size=1, max_size=8), padding=st.sampled_from([0, 150]))
def test_the_fast_path_and_the_exact_diagnosis_agree_on_every_row(policy: str, lines: list[str], padding: int) -> None:
    validator = VALIDATORS[policy]
    texts = [FILLER] * padding + [line.encode() for line in lines]
    columns = run(validator, b"\n".join(texts), Format.NDJSON)
    faults = {fault.row: fault for fault in columns.faults[0]}
    for row, text in enumerate(texts):
        errors = tuple(validator.diagnose(text))
        assert bool(errors) == (row in faults)
        if row in faults:
            assert faults[row].errors == errors
            assert faults[row].raw == text


@pytest.mark.parametrize("policy", POLICIES)
@given(lines=st.lists(rows(), min_size=1, max_size=6))
def test_a_row_has_the_same_values_whichever_path_decided_it(policy: str, lines: list[str]) -> None:
    """An unreadable neighbour changes nothing, and neither does a spelling that the fast path cannot take."""
    validator = VALIDATORS[policy]
    plain = run(validator, "\n".join(lines).encode(), Format.NDJSON)
    spaced = run(validator, "\n".join(f" {line}\t" for line in lines).encode() + b"\n\xff\n", Format.NDJSON)
    assert plain.batch.equals(spaced.batch)
    keys, others = validator.row_keys(plain.batch), validator.row_keys(spaced.batch)
    assert keys == others


@given(lines=st.lists(rows(), min_size=1, max_size=6))
def test_a_list_of_objects_means_what_its_lines_mean(lines: list[str]) -> None:
    validator = VALIDATORS["capture"]
    by_line = run(validator, "\n".join(lines).encode(), Format.NDJSON)
    for body in ("[" + ",".join(lines) + "]", '{"rows": [' + " , ".join(lines) + "]}"):
        try:
            by_list = run(validator, body.encode(), Format.JSON)
        except HeadwaterError as error:
            codes = {error.code for fault in by_line.faults[0] for error in fault.errors}
            if error.code != "malformed_body" or not codes & {"malformed_json", "bad_encoding"}:
                raise
            continue
        if by_list.batch.num_rows + len(by_list.faults[0]) == len(lines):
            assert by_list.batch.equals(by_line.batch)
            assert [f.errors for f in by_list.faults[0]] == [f.errors for f in by_line.faults[0]]
            for fault in by_list.faults[0]:
                assert body.encode()[fault.byte_offset :].startswith(fault.raw)


def as_csv(contract: Contract, lines: list[str]) -> str:
    """Write rows as CSV; strings as they are, everything else as its JSON text, null as NA."""
    names = [field.name for field in contract.fields]
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(names)
    for line in lines:
        members = json.loads(line, parse_float=_Literal, parse_int=_Literal)
        cells = [_cell(members[name]) if members.get(name) is not None else "NA" for name in names]
        writer.writerow(cells)
    return text.getvalue().replace('"NA"', "NA")


class _Literal(str):
    """A number as it was written."""

    __slots__ = ()


def _cell(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, _Literal):
        return float(value) if not value.lstrip("-").isdigit() else int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


CSV_NAMES = (
    "key",
    "count",
    "big",
    "ratio",
    "step",
    "price",
    "level",
    "code",
    "mail",
    "at",
    "day",
    "clock",
    "uid",
    "tags",
)
CSV_TEXT = {"key", "level", "code", "mail", "at", "day", "clock", "uid"}


@given(lines=st.lists(rows(), min_size=1, max_size=8))
def test_a_csv_record_means_what_the_same_row_means_in_json(lines: list[str]) -> None:
    validator = VALIDATORS["quarantine"]
    logical = [line for line in lines if _is_logical(line)]
    if not logical:
        return
    by_line = run(validator, "\n".join(map(_without_nulls, logical)).encode(), Format.NDJSON)
    body = as_csv(validator.contract, logical).encode()
    batch = validator.read(body, Format.CSV, dialect=CsvDialect(null="NA"))
    by_csv = validator.columnise([batch], [NOW])
    assert by_csv.batch.equals(by_line.batch)
    assert [f.row for f in by_csv.faults[0]] == [f.row for f in by_line.faults[0]]
    assert [{e.code for e in f.errors} for f in by_csv.faults[0]] == [
        {e.code for e in f.errors} for f in by_line.faults[0]
    ]
    assert validator.row_keys(by_csv.batch) == validator.row_keys(by_line.batch)


def _is_logical(line: str) -> bool:
    """Return whether CSV can say the row: known plain fields, each once, strings where the contract has strings."""
    try:
        pairs = json.loads(line, object_pairs_hook=list, parse_constant=lambda _: 1 / 0)
        members = json.loads(line)
    except (ValueError, ZeroDivisionError):
        return False
    if len(pairs) != len(members) or not {"key", "count"} <= members.keys() <= set(CSV_NAMES):
        return False
    return all(_is_sayable(name, value) for name, value in members.items())


def _is_sayable(name: str, value: object) -> bool:
    if value is None:
        return name == "ratio"
    if name == "tags":
        return isinstance(value, list) and all(isinstance(item, str) and _is_unicode(item) for item in value)
    if name in CSV_TEXT:
        return isinstance(value, str) and value != "NA" and _is_unicode(value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_unicode(text: str) -> bool:
    return text.isprintable() or "\n" in text


def _without_nulls(line: str) -> str:
    members = json.loads(line, parse_float=_Literal, parse_int=_Literal)
    return line if all(value is not None for value in members.values()) else line.replace(":null", ":null")


@pytest.mark.parametrize("form", list(Format))
@given(body=st.binary(max_size=200))
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b'"' * 99)
@example(body=b"\xef\xbb\xbf")
@example(body=b'key,count\n"a')
def test_random_bytes_raise_nothing_but_our_errors(form: Format, body: bytes) -> None:
    try:
        run(VALIDATORS["capture"], body, form)
    except HeadwaterError as error:
        if error.code not in {"empty_body", "malformed_body", "too_many_rows"}:
            raise


PIECES = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b":", b",", b'"', b"key", b"count", b"1", b"\n", b"\r", b"\\u", b"d800", b"null", b" "]
    ),
    max_size=60,
)


@pytest.mark.parametrize("form", list(Format))
@given(pieces=PIECES)
def test_shreds_of_json_raise_nothing_but_our_errors(form: Format, pieces: list[bytes]) -> None:
    try:
        run(VALIDATORS["capture"], b"key,count\n" * (form is Format.CSV) + b"".join(pieces), form)
    except HeadwaterError as error:
        if error.code not in {"empty_body", "malformed_body"}:
            raise


@given(
    groups=st.lists(st.lists(rows(), min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_bodies_columnised_together_are_as_if_alone(groups: list[list[str]]) -> None:
    validator = VALIDATORS["capture"]
    bodies = ["\n".join(lines).encode() for lines in groups]
    together = validator.columnise([validator.read(body, Format.NDJSON) for body in bodies], [NOW] * len(bodies))
    start = 0
    for number, body in enumerate(bodies):
        alone = run(validator, body, Format.NDJSON)
        assert list(together.positions[number]) == list(alone.positions[0])
        assert together.faults[number] == alone.faults[0]
        assert together.batch.slice(start, alone.batch.num_rows).equals(alone.batch)
        start += alone.batch.num_rows
    assert start == together.batch.num_rows


def test_limits_are_kept() -> None:
    validator = VALIDATORS["capture"]
    with pytest.raises(HeadwaterError) as caught:
        validator.read(FILLER + b"\n" + FILLER, Format.NDJSON, limits=ReadLimits(max_rows=1))
    assert caught.value.code == "too_many_rows"
    batch = validator.read(b"\n".join([FILLER, b" " * 99 + FILLER]), Format.NDJSON, limits=ReadLimits(max_row_bytes=64))
    assert [(fault.row, fault.errors[0].code) for fault in batch.faults] == [(1, "row_too_large")]
