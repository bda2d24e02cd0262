from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.contracts.model import Constraints, Contract, Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.services.inference.signature import MAX_ROWS, Signature

FIELDS = (
    Field("hour", LogicalType.INTEGER, constraints=Constraints(ge=0, le=23)),
    Field("distance", LogicalType.NUMBER),
    Field("wind", LogicalType.NUMBER, nullable=True),
    Field("holiday", LogicalType.BOOLEAN, required=False, has_default=True, default=False),
    Field("carrier", LogicalType.STRING, constraints=Constraints(pattern="[A-Z]{2}")),
)


def signature(*fields: Field) -> Signature:
    return Signature(Contract("delay", "1.0", fields or FIELDS[:4], on_unknown="quarantine", on_error="reject_batch"))


GOOD = {"hour": 7, "distance": 1.5, "wind": None, "holiday": True}


def body(**changes: Any) -> bytes:
    return json.dumps({"rows": [GOOD, GOOD | changes]}).encode()


def refusal(text: bytes, *fields: Field) -> dict[str, Any]:
    with pytest.raises(HeadwaterError) as refused:
        signature(*fields).read(text)
    return refused.value.to_problem(instance="", request_id="")


def found(problem: dict[str, Any]) -> list[tuple[int, str, str]]:
    assert problem["code"] == "input_invalid"
    return [(row["row"], error["path"], error["code"]) for row in problem["errors"] for error in row["errors"]]


def test_rows_by_name_and_by_position_are_the_same_rows() -> None:
    assert signature().read(body()) == [(7, 1.5, None, True)] * 2
    assert signature().read(b'{"inputs": [[7, 1.5, null, true]]}') == [(7, 1.5, None, True)]


def test_a_default_fills_what_is_absent() -> None:
    assert signature().read(b'{"rows": [{"wind": 2, "hour": 7, "distance": 1}]}') == [(7, 1, 2, False)]


def test_a_signature_of_one_field_reads_rows_of_one_value() -> None:
    assert signature(FIELDS[1]).read(b'{"rows": [{"distance": 1}, {"distance": 2}]}') == [(1,), (2,)]
    assert signature(FIELDS[1]).read(b'{"inputs": [[1], [2]]}') == [(1,), (2,)]


def test_what_the_contract_accepts_beyond_msgspec_is_accepted() -> None:
    assert signature().read(body(hour=7.0))[1] == (7, 1.5, None, True)
    assert signature(*FIELDS).read(b'{"inputs": [[7, 1.5, null, true, "AA"]]}') == [(7, 1.5, None, True, "AA")]


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"hour": 24}, "/hour", "out_of_range"),
        ({"hour": "7"}, "/hour", "type_mismatch"),
        ({"hour": 7.5}, "/hour", "type_mismatch"),
        ({"hour": True}, "/hour", "type_mismatch"),
        ({"distance": "1.5"}, "/distance", "type_mismatch"),
        ({"distance": None}, "/distance", "null_not_allowed"),
        ({"distance": []}, "/distance", "type_mismatch"),
        ({"distance": float("nan")}, "/distance", "type_mismatch"),
        ({"distance": float("-inf")}, "/distance", "type_mismatch"),
        ({"holiday": 1}, "/holiday", "type_mismatch"),
        ({"surprise": 1}, "/surprise", "unknown_field"),
    ],
)
def test_every_mistake_names_its_row_and_field(changes: dict[str, Any], path: str, code: str) -> None:
    problem = refusal(body(**changes))
    assert found(problem) == [(1, path, code)]
    assert problem["status"] == 422
    assert problem["detail"].startswith(f"row 1: {path}: ")


def test_all_mistakes_of_all_rows_are_reported() -> None:
    text = b'{"rows": [{}, {"hour": 1, "distance": 2, "wind": 3}, {"hour": "x", "distance": null, "wind": 1}, 7]}'
    problem = refusal(text)
    assert found(problem) == [
        (0, "/hour", "missing_field"),
        (0, "/distance", "missing_field"),
        (0, "/wind", "missing_field"),
        (2, "/hour", "type_mismatch"),
        (2, "/distance", "null_not_allowed"),
        (3, "", "not_an_object"),
    ]
    assert problem["errors_total"] == 3


def test_rows_by_position_of_another_length_are_refused() -> None:
    text = b'{"inputs": [[1, 2], [1, 2, 3, true], [1, 2, 3, true, 5], {"hour": 1}, ["x", 2, 3, true]]}'
    assert found(refusal(text)) == [
        (0, "/wind", "missing_field"),
        (0, "/holiday", "missing_field"),
        (2, "/4", "unknown_field"),
        (3, "", "type_mismatch"),
        (4, "/hour", "type_mismatch"),
    ]


def test_a_pattern_is_held_although_msgspec_does_not_know_it() -> None:
    problem = refusal(b'{"inputs": [[7, 1, 1, true, "AA\\n"], [7, 1, 1, true, "aa"]]}', *FIELDS)
    assert found(problem) == [(0, "/carrier", "pattern_mismatch"), (1, "/carrier", "pattern_mismatch")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "empty_body"),
        (b" \n", "empty_body"),
        (b'{"rows": [{"hour": 1', "malformed_body"),
        (b'{"rows": [{"hour": 1}]} x', "malformed_body"),
        (b"\xff\xfe", "malformed_body"),
        (b'{"rows": [{"hour": "\xff", "distance": 1, "wind": 1}]}', "malformed_body"),
        (b"[" * 100_000, "malformed_body"),
        (b"[]", "input_invalid"),
        (b"7", "input_invalid"),
        (b"{}", "input_invalid"),
        (b'{"rows": []}', "input_invalid"),
        (b'{"inputs": []}', "input_invalid"),
        (b'{"rows": {}}', "input_invalid"),
        (b'{"rows": null}', "input_invalid"),
        (b'{"rows": [], "inputs": []}', "input_invalid"),
        (b'{"entities": [{"id": 1}]}', "input_invalid"),
        (b'{"rows": [' + b",".join([b"{}"] * (MAX_ROWS + 1)) + b"]}", "too_many_rows"),
    ],
)
def test_a_body_that_has_no_rows_to_read_is_refused_as_a_whole(text: bytes, code: str) -> None:
    problem = refusal(text)
    assert problem["code"] == code
    assert problem["status"] in (400, 413, 422)


def test_only_the_first_hundred_bad_rows_are_shown_and_all_are_counted() -> None:
    problem = refusal(b'{"rows": [' + b",".join([b"{}"] * 150) + b"]}")
    assert (len(problem["errors"]), problem["errors_total"], problem["errors_truncated"]) == (100, 150, True)
