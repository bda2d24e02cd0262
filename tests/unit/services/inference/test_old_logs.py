"""A home whose logs of predictions are older than a column of today's takes the column, and keeps its rows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq
from tests.builders.fleet import Fleet
from tests.builders.models import make_model, make_version
from tests.fakes.process import until
from tests.unit.services.inference.test_overrides import make_override

from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Block
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore
from headwater.jobs.sealer import Sealer

STREAM = "env_1/predictions_delay"
BODY = {"rows": [{"a": 1, "b": 2}]}


async def logged(fleet: Fleet, settings: Settings, **more: Any) -> Block:
    """Predict once and return what the log says of it."""
    known = len(blocks(fleet))
    await fleet.deploy(make_model(make_version(settings)), **more)
    await fleet.predict(BODY)
    await until(lambda: len(blocks(fleet)) > known)
    return blocks(fleet)[known]


def blocks(fleet: Fleet) -> list[Block]:
    found = fleet.process.journal.read(STREAM, max_rows=100, max_bytes=1 << 20)
    return [stored.block for stored in found]


def stored(lake: TableStore) -> pa.Table:
    """Return the rows of the log's table."""
    state = lake.state(STREAM)
    assert state is not None
    # A file from before a column has nothing in it.
    return pa.concat_tables([pq.read_table(file) for file in state.files], promote_options="default")


def without(block: Block, column: str) -> Block:
    """Return a block as a release wrote it that did not know ``column`` yet."""
    table = pa.ipc.open_stream(block.payload).read_all()
    assert column in table.column_names
    old = table.drop_columns([column])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, old.schema) as writer:
        writer.write_table(old)
    return Block(block.stream, sink.getvalue().to_pybytes(), block.rows, block.spans)


async def test_a_log_from_before_overrides_takes_their_column(settings: Settings, fleet: Fleet) -> None:
    old = without(await logged(fleet, settings), "overrides")
    new = await logged(fleet, settings, overrides={"ovr_1": make_override()})
    journal, lake = open_journal(settings), open_lake(settings)
    try:
        sealer = Sealer(journal, lake, settings)
        journal.write(lambda transaction: transaction.append(old))
        await asyncio.to_thread(sealer.drain)
        assert "overrides" not in stored(lake).column_names
        journal.write(lambda transaction: transaction.append(new))
        await asyncio.to_thread(sealer.drain)
    finally:
        journal.close()
    first, second = stored(lake).sort_by("_hw_seq").to_pylist()
    assert (first["output_score"], second["output_score"]) == (21, 21)
    assert first["overrides"] is None
    assert json.loads(second["overrides"]) == {"score": {"override": "ovr_1", "served": 7.5}}
