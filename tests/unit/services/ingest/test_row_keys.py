"""Rows are told apart by their keys, so a row without one is refused rather than taken for another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import Ingest, ingesting

from headwater.contracts.model import Dedup, Field, LogicalType

FIELDS = (
    Field("id", LogicalType.STRING, required=False, nullable=True),
    Field("part", LogicalType.INTEGER, required=False, nullable=True),
    Field("text", LogicalType.STRING),
)
ROWS = [
    {"id": "a", "part": 1, "text": "one"},
    {"id": None, "part": 1, "text": "two"},
    {"part": 2, "text": "three"},
    {"id": "a", "text": "four"},
    {"id": "a", "part": 1, "text": "one"},
    {"text": "five"},
]


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(tmp_path, make_dataset(make_contract(fields=FIELDS, dedup=Dedup(("id", "part"))))) as running:
        yield running


async def test_rows_that_lack_a_part_of_their_key_are_refused_and_none_is_lost(ingest: Ingest) -> None:
    body = (await ingest.send(ROWS)).json()
    assert body["counts"] | {"stale": 0} == {
        "received": 6,
        "accepted": 1,
        "duplicate": 1,
        "stale": 0,
        "quarantined": 4,
        "rejected": 0,
    }
    found = [(row["row"], row["line"], row["errors"][0]["code"], row["errors"][0]["path"]) for row in body["errors"]]
    assert found == [
        (1, 2, "key_missing", "/id"),
        (2, 3, "key_missing", "/id"),
        (3, 4, "key_missing", "/part"),
        (5, 6, "key_missing", "/id"),
    ]
    assert [row["text"] for row in ingest.stored()] == ["one"]


@pytest.mark.parametrize("to", ["rows", "rows/validate"])
async def test_a_batch_with_such_a_row_is_rejected_where_all_or_none_is_asked_for(ingest: Ingest, to: str) -> None:
    body = (await ingest.send(ROWS[:2], to=to, on_error="reject_batch")).json()
    assert body["counts"]["rejected"] == 2
    assert ingest.stored() == []


async def test_a_request_of_duplicates_waits_for_no_table(ingest: Ingest) -> None:
    row = ROWS[0]
    first = (await ingest.send([row])).json()
    again = (await ingest.send([row], ack="committed")).json()
    assert (again["counts"]["duplicate"], again["state"]) == (1, "committed")
    states = [(await ingest.get(f"/v1/receipts/{one['receipt']}")).json()["state"] for one in (first, again)]
    assert states == ["durable", "committed"]


async def test_they_can_be_replayed_once_the_contract_asks_for_less(ingest: Ingest) -> None:
    await ingest.send(ROWS)
    assert (await ingest.resolve("replay", all=True))["quarantined"] == 4
    ingest.configure(make_dataset(make_contract(version="1.1", fields=FIELDS)))
    assert (await ingest.resolve("replay", all=True))["accepted"] == 4
    assert sorted(row["text"] for row in ingest.stored()) == ["five", "four", "one", "three", "two"]
