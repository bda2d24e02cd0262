"""A replayed row means what it meant when it came: its columns stay in place and its bytes stay as they are."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import ENVIRONMENT, Ingest, ingesting

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.services.ingest.encoding import decode_block

SHORT = tuple(Field(name, LogicalType.STRING, constraints=Constraints(max_length=2)) for name in ("a", "b"))
LONG = tuple(Field(name, LogicalType.STRING) for name in ("a", "b"))


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(tmp_path, make_dataset(make_contract("pairs", fields=SHORT))) as running:
        yield running


async def test_rows_of_files_with_other_columns_keep_theirs_however_often_they_fail(ingest: Ingest) -> None:
    for body, delimiter in (("a,b\nlong,y\n", ","), ("b,a\nlong,x\n", ","), ("b;a\nlong;z\n", ";")):
        await ingest.send(body, "pairs", content_type="text/csv", delimiter=delimiter)
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


@pytest.mark.parametrize("before", ["", "\ufeff", "\r\n\n"])
@pytest.mark.parametrize("header", ["b,a", '"b","a"', 'b,a,x"y', 'b,"x\n""\ny",a'])
async def test_the_header_is_kept_as_the_rows_were_read_by_it(ingest: Ingest, before: str, header: str) -> None:
    blanks = "," * (header.count(",") - 1)
    row = f"long{blanks},x\n" if header.endswith(("a", '"a"')) else f"long,x{blanks}\n"
    reply = await ingest.send(f"{before}{header}\n{row}", "pairs", content_type="text/csv")
    assert reply.json()["error_summary"][0]["path"] == "/b", reply.text
    ingest.configure(make_dataset(make_contract("pairs", version="1.1", fields=LONG)))
    assert (await ingest.resolve("replay", "pairs", all=True))["accepted"] == 1
    assert [(row["a"], row["b"]) for row in ingest.stored("pairs")] == [("x", "long")]


async def test_a_header_of_many_lines_does_not_stop_the_others(ingest: Ingest) -> None:
    began = time.monotonic()
    reply = await ingest.send(b'a,b,"' + b"\n" * 100_000 + b'"\nx,y,\n', "pairs", content_type="text/csv")
    assert reply.status_code == 200
    assert time.monotonic() - began < 2


async def test_a_long_header_is_not_kept_with_every_row(ingest: Ingest) -> None:
    header = "a,b," + "x" * 200_000
    reply = await ingest.send(f"{header}\n" + "long,x,\n" * 1_000, "pairs", content_type="text/csv")
    assert reply.json()["counts"]["quarantined"] == 1_000
    (block,) = ingest.runtime.journal.read(f"{ENVIRONMENT}/_hw_quarantine", max_rows=10**6, max_bytes=1 << 30)
    dialects = decode_block(block.block.payload).column("dialect")
    assert dialects.nbytes < 32 << 20
    ingest.configure(make_dataset(make_contract("pairs", version="1.1", fields=LONG)))
    result = await ingest.resolve("replay", "pairs", all=True)
    assert result["accepted"] == 1_000 - dialects.null_count > 0
    assert result["skipped"] == dialects.null_count > 0
