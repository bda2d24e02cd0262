"""A contract inferred from rows fits them, says no more than they show, and is one that can be written and read."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from headwater.contracts.infer import infer_contract
from headwater.contracts.model import Contract, Field
from headwater.contracts.odcs import export_contract, parse_contract
from headwater.contracts.rows import Format
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError

CSV = b"""\
id,Zip Code,placed at,amount,paid,day,seen,note,2nd
1,00501,2026-01-05T09:12:00Z,129.90,true,2026-01-05,2026-01-05T09:12:00,hello,
2,10115,2026-01-05T09:40:00+01:00,18,false,2026-02-28,2026-01-05T10:12:00,,
3,75001,2026-01-06T10:02:00Z,0.5,true,2026-01-07,2026-01-05T11:12:00,2026-02-30,
"""


def field(contract: Contract, name: str) -> Field:
    return next(one for one in contract.fields if one.name == name)


def ndjson(*rows: Any) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def infer(*rows: Any) -> Contract:
    return infer_contract(ndjson(*rows), Format.NDJSON, name="things").contract


def test_a_csv_file_becomes_a_contract_that_its_rows_fit() -> None:
    found = infer_contract(CSV, Format.CSV, name="orders")
    types = {one.name: (str(one.type), one.required, one.nullable) for one in found.contract.fields}
    assert types == {
        "id": ("integer", True, False),
        "Zip_Code": ("string", True, False),
        "placed_at": ("timestamp", True, False),
        "amount": ("number", True, False),
        "paid": ("boolean", True, False),
        "day": ("date", True, False),
        "seen": ("timestamp", True, False),
        "note": ("string", True, True),
        "field_2nd": ("string", False, True),
    }
    assert found.contract.dedup is not None
    assert found.contract.dedup.key == ("id",)
    assert field(found.contract, "Zip_Code").aliases == ("Zip Code",)
    assert field(found.contract, "seen").default_timezone == "UTC"
    assert any("taken for UTC" in note for note in found.notes)
    text = yaml.safe_dump(export_contract(found.contract))
    read = compile_contract(parse_contract(text, source="orders.yaml")).read(CSV, Format.CSV)
    assert (read.received, list(read.faults)) == (3, [])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "integer"),
        ([1, 2.5], "number"),
        ([True, False], "boolean"),
        (["2026-01-01", "2026-12-31"], "date"),
        (["2026-01-01T00:00:00Z"], "timestamp"),
        (["0198c6f2-7f3a-7000-8000-000000000000"], "uuid"),
        (["2026-01-01", "soon"], "string"),
        ([1, "1"], "json"),
        ([{"a": 1}, {"a": 2}], "json"),
        ([None, None], "string"),
    ],
)
def test_the_narrowest_type_that_all_values_have_is_taken(values: list[Any], kind: str) -> None:
    assert field(infer(*({"x": value} for value in values)), "x").type == kind


def test_what_is_absent_somewhere_is_optional_and_what_is_null_is_nullable() -> None:
    contract = infer({"a": 1, "b": 2}, {"a": None, "b": 3}, {"a": 4})
    assert [(one.name, one.required, one.nullable) for one in contract.fields] == [
        ("a", True, True),
        ("b", False, False),
    ]


def test_what_only_a_late_row_shows_counts_as_well() -> None:
    contract = infer(*({"a": n, "b": "x\ny"} for n in range(500)), {"a": 0.5, "b": "z"})
    assert field(contract, "a").type == "number"


def test_a_quoted_cell_of_many_lines_is_one_value() -> None:
    body = b'a,b\n1,"' + b"line\n" * 300 + b'"\n2,x\n'
    assert infer_contract(body, Format.CSV, name="t").rows == 2


def test_more_fields_than_one_fault_can_name_are_each_looked_at() -> None:
    names = [f"c{n}" for n in range(70)]
    contract = infer(dict.fromkeys(names, "x"), dict.fromkeys(names, "2026-01-01"))
    assert {str(one.type) for one in contract.fields} == {"string"}


def test_names_that_differ_in_nothing_a_contract_keeps_stay_apart() -> None:
    contract = infer({"a b": 1, "a-b": 2, "A_b": 3, "": 4})
    assert [one.name for one in contract.fields] == ["a_b", "a_b_2", "A_b_3", "field"]


@pytest.mark.parametrize(("body", "code"), [(b"", "empty_body"), (b"{}\n{}", "contract_invalid")])
def test_a_sample_without_anything_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        infer_contract(body, Format.NDJSON, name="things")
    assert caught.value.code == code


def test_a_row_that_no_contract_fits_is_named() -> None:
    with pytest.raises(HeadwaterError, match="row 1"):
        infer_contract(b'{"a": 1}\n{"a": 1', Format.NDJSON, name="things")
