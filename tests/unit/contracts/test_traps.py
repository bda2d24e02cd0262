from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.corpus.traps import BASE, TRAPS, Trap, cell_of, row

from headwater.contracts.odcs import parse_contract
from headwater.contracts.rows import Columns, Format
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError

EVENTS = Path(__file__).parents[3] / "bench" / "contracts" / "events.yaml"
VALIDATOR = compile_contract(parse_contract(EVENTS.read_text(), source="events.yaml"))
GOOD = row().encode()
RECEIVED_AT = 1_790_000_000_000_000
IN_CSV = [trap for trap in TRAPS if trap.cells is not None]
FILLER = 200


def validate(body: bytes, form: Format) -> Columns:
    columns = VALIDATOR.columnise([VALIDATOR.read(body, form)], [RECEIVED_AT])
    columns.batch.validate(full=True)
    return columns


def check(columns: Columns, trap: Trap, at: int, received: int) -> None:
    faults = columns.faults[0]
    assert columns.batch.num_rows + len(faults) == received
    if trap.is_accepted:
        assert faults == ()
        found: dict[str, Any] = columns.batch.slice(at, 1).to_pylist()[0]
        for name, value in trap.kept.items():
            assert found[name] == value
            assert repr(found[name]) == repr(value) or not isinstance(value, float)
    else:
        assert [fault.row for fault in faults] == [at]
        assert trap.code in [error.code for error in faults[0].errors]
        assert at not in columns.positions[0]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_an_awkward_line_of_ndjson_gets_its_verdict_and_spares_its_neighbours(trap: Trap) -> None:
    check(validate(b"\n".join([GOOD, trap.line, GOOD]), Format.NDJSON), trap, 1, 3)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_an_awkward_line_gets_the_same_verdict_in_a_large_batch(trap: Trap) -> None:
    lines = [GOOD] * FILLER + [trap.line] + [GOOD] * FILLER
    check(validate(b"\n".join(lines), Format.NDJSON), trap, FILLER, 2 * FILLER + 1)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_the_exact_diagnosis_gives_the_verdict_too(trap: Trap) -> None:
    codes = [error.code for error in VALIDATOR.diagnose(trap.line)]
    assert codes == [] if trap.code is None else trap.code in codes


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_an_awkward_item_of_a_json_list_gets_its_verdict_or_breaks_the_list(trap: Trap) -> None:
    body = b"[" + b",\n".join([GOOD, trap.line, GOOD]) + b"]"
    breaks_syntax = trap.code in {"malformed_json", "bad_encoding", "too_deep"}
    try:
        columns = validate(body, Format.JSON)
    except HeadwaterError as error:
        if error.code != "malformed_body" or not breaks_syntax:
            raise
        return
    if trap.name == "comma-joined objects on one line":
        assert columns.batch.num_rows == 4
    else:
        check(columns, trap, 1, 3)


@pytest.mark.parametrize("trap", IN_CSV, ids=lambda trap: trap.name)
def test_an_awkward_csv_record_gets_its_verdict_and_spares_its_neighbours(trap: Trap) -> None:
    assert trap.cells is not None
    good = {name: cell_of(value) for name, value in BASE.items()}
    records = [",".join({**good, **cells}.values()) for cells in ({}, trap.cells, {})]
    body = "\r\n".join([",".join(BASE), *records]).encode()
    check(validate(body, Format.CSV), trap, 1, 3)


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("12.5", None),
        ("NaN", "type_mismatch"),
        ("+1", "type_mismatch"),
        ("01", "type_mismatch"),
        (" 5", "type_mismatch"),
    ],
)
def test_a_csv_number_is_a_json_number(cell: str, code: str | None) -> None:
    good = {name: cell_of(value) for name, value in BASE.items()} | {"amount": cell}
    columns = validate(f"{','.join(BASE)}\n{','.join(good.values())}\n".encode(), Format.CSV)
    assert [error.code for fault in columns.faults[0] for error in fault.errors] == ([] if code is None else [code])


def test_a_blank_line_is_no_row_but_counts_as_a_line() -> None:
    body = b"\xef\xbb\xbf\n" + GOOD + b"\r\n   \r\n\n" + GOOD[:-1] + b"\n" + GOOD + b"\n\n"
    columns = validate(body, Format.NDJSON)
    assert columns.batch.num_rows == 2
    (fault,) = columns.faults[0]
    assert (fault.row, fault.line) == (1, 5)
    assert body[fault.byte_offset :].startswith(fault.raw)
    assert fault.raw == GOOD[:-1]


def test_an_object_split_over_two_lines_is_two_bad_rows() -> None:
    columns = validate(GOOD[:40] + b"\n" + GOOD[40:], Format.NDJSON)
    assert [fault.row for fault in columns.faults[0]] == [0, 1]
    assert columns.batch.num_rows == 0


def test_a_byte_order_mark_is_stripped_once() -> None:
    assert validate(b"\xef\xbb\xbf" + GOOD, Format.NDJSON).batch.num_rows == 1
    assert validate(b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD, Format.NDJSON).batch.num_rows == 0
