"""A replayed row means what it meant when it came: its columns stay in place and its bytes stay as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import Ingest, ingesting

from headwater.contracts.model import Constraints, Field, LogicalType

SHORT = tuple(Field(name, LogicalType.STRING, constraints=Constraints(max_length=2)) for name in ("a", "b"))
LONG = tuple(Field(name, LogicalType.STRING) for name in ("a", "b"))


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(tmp_path, make_dataset(make_contract("pairs", fields=SHORT))) as running:
        yield running


async def test_rows_of_files_with_other_columns_keep_theirs_however_often_they_fail(ingest: Ingest) -> None:
    for body in ("a,b\nlong,y\n", "b,a\nlong,x\n", "b;a\nlong;z\n"):
        delimiter = {"delimiter": ";"} if ";" in body else {}
        await ingest.send(body, "pairs", content_type="text/csv", **delimiter)
    assert (await ingest.resolve("replay", "pairs", all=True))["quarantined"] == 3
    ingest.configure(
        make_dataset(make_contract("pairs", fields=SHORT), make_contract("pairs", version="1.1", fields=LONG))
    )
    assert (await ingest.resolve("replay", "pairs", all=True))["accepted"] == 3
    stored = {(row["a"], row["b"]) for row in ingest.stored("pairs")}
    assert stored == {("long", "y"), ("x", "long"), ("z", "long")}


async def test_a_line_that_is_no_json_is_not_mended_on_the_way(ingest: Ingest) -> None:
    await ingest.send(b'{"a":"x\ry","b":"z"}', "pairs")
    ingest.configure(make_dataset(make_contract("pairs", version="1.1", fields=LONG)))
    result = await ingest.resolve("replay", "pairs", all=True)
    assert (result["accepted"], result["quarantined"]) == (0, 1)
    assert ingest.stored("pairs") == []
