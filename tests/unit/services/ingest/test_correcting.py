"""Single refused rows as reviewers look at them: listed, replayed, corrected, discarded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import ENVIRONMENT, Ingest, ingesting

from headwater.core.errors import HeadwaterError
from headwater.services.ingest.correction import corrected

PATH = f"quarantine/{ENVIRONMENT}/orders"


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(tmp_path, make_dataset(make_contract())) as running:
        yield running


async def kept(ingest: Ingest, **parameters: Any) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    rows: list[dict[str, Any]] = (await ingest.internal("GET", f"{PATH}/rows?{query}")).json()["rows"]
    return rows


async def correct(ingest: Ingest, quarantine_id: str, **changes: Any) -> dict[str, Any]:
    body = {"quarantine_id": quarantine_id, "changes": changes, "requested_by": "usr_1"}
    reply = await ingest.internal("POST", f"{PATH}/correct", json=body)
    document: dict[str, Any] = reply.json()
    return document


async def test_a_corrected_row_is_accepted_once_in_the_reviewers_name(ingest: Ingest) -> None:
    await ingest.send([{"id": "b", "qty": -1}])
    (row,) = await kept(ingest)
    assert (row["state"], row["principal_id"], row["first_code"]) == ("open", "sva_1", "out_of_range")
    done = await correct(ingest, row["quarantine_id"], qty=7)
    assert (done["accepted"], done["quarantined"]) == (1, 0)
    assert [(stored["id"], stored["qty"]) for stored in ingest.stored()] == [("b", 7)]
    again = await correct(ingest, row["quarantine_id"], qty=8)
    assert (again["accepted"], again["duplicate"]) == (0, 1)
    assert len(ingest.stored()) == 1
    assert [one["state"] for one in await kept(ingest)] == ["replayed"]
    receipts = (await ingest.internal("GET", f"datasets/{ENVIRONMENT}/orders/receipts")).json()["receipts"]
    assert {receipt["principal_id"] for receipt in receipts} == {"sva_1", "usr_1"}


async def test_a_correction_that_is_wrong_too_is_quarantined_anew(ingest: Ingest) -> None:
    await ingest.send([{"id": "b", "qty": -1}])
    (row,) = await kept(ingest)
    assert (await correct(ingest, row["quarantine_id"], qty=-2))["quarantined"] == 1
    first, second = await kept(ingest)
    assert (first["state"], second["state"]) == ("replayed", "open")
    assert (second["replay_of"], second["attempt"]) == (first["quarantine_id"], 2)


async def test_single_rows_are_discarded_and_others_stay(ingest: Ingest) -> None:
    await ingest.send([{"id": "b", "qty": -1}, {"id": "c", "qty": -2}])
    first, second = await kept(ingest)
    ruling = {"quarantine_ids": [first["quarantine_id"]], "requested_by": "usr_1"}
    assert (await ingest.internal("POST", f"{PATH}/discard", json=ruling)).json()["discarded"] == 1
    assert [row["state"] for row in await kept(ingest)] == ["discarded", "open"]
    assert [row["quarantine_id"] for row in await kept(ingest, after=first["quarantine_id"])] == [
        second["quarantine_id"]
    ]
    assert (await ingest.internal("POST", f"{PATH}/discard", json={"requested_by": "usr_1"})).status_code == 400


async def test_a_group_says_whose_rows_it_holds(ingest: Ingest) -> None:
    await ingest.send([{"id": "b", "qty": -1}])
    (group,) = (await ingest.internal("GET", f"quarantine/{ENVIRONMENT}/groups")).json()["groups"]
    assert group["principal_ids"] == ["sva_1"]


async def test_a_row_that_never_was_cannot_be_corrected(ingest: Ingest) -> None:
    body = {"quarantine_id": "q_01JD0000000000000000000000", "changes": {"qty": 1}, "requested_by": "usr_1"}
    assert (await ingest.internal("POST", f"{PATH}/correct", json=body)).status_code == 404


def row(raw: bytes | None, form: str = "json", dialect: str | None = None, **more: Any) -> dict[str, Any]:
    members = {"quarantine_id": "q_1", "raw": raw, "raw_truncated": False, "format": form, "dialect": dialect}
    return members | more


def test_what_is_not_changed_stays_byte_by_byte() -> None:
    raw = b'{\n  "big": 12345678901234567890.10, "a": "\xc3\xa4", "b": 1}'
    found = corrected(row(raw), {"b": 2}, ["missing"])
    assert found["raw"] == b'{"big":12345678901234567890.10,"a":"\xc3\xa4","b":2}'
    assert found["format"] == "ndjson"


def test_what_is_no_object_becomes_one() -> None:
    assert corrected(row(b"[1, 2"), {"b": 2}, [])["raw"] == b'{"b":2}'


def test_a_line_of_csv_keeps_its_columns() -> None:
    dialect = '{"delimiter":";","quote":"\\"","null":"-","header":"id;name;qty"}'
    found = corrected(row(b'b;"x;y";-1', "csv", dialect), {"qty": 7, "name": None}, [])
    assert found["raw"] == b"b;-;7"
    with pytest.raises(HeadwaterError, match="no column 'nope'"):
        corrected(row(b"b;x;1", "csv", dialect), {"nope": 1}, [])


@pytest.mark.parametrize("broken", [{"raw": None}, {"raw_truncated": True}, {"format": "csv", "dialect": None}])
def test_a_row_that_was_not_kept_whole_cannot_be_corrected(broken: dict[str, Any]) -> None:
    with pytest.raises(HeadwaterError, match="kept"):
        corrected(row(b"{}") | broken, {"a": 1}, [])
