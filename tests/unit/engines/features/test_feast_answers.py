"""The same data gives the same training frame and the same online values as Feast gave (see tests/corpus/feast)."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.builders.features import ENVIRONMENT

from headwater.core.snapshot import FeatureSpec, FeatureViewSpec
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.features.history import History, Sources
from headwater.engines.features.lake import open_duckdb
from headwater.engines.features.materialise import Materialiser
from headwater.engines.online.sqlite import SqliteOnlineStore

CORPUS = Path(__file__).parents[3] / "corpus" / "feast"
ANSWERS = json.loads((CORPUS / "answers.json").read_text())


def view_of(name: str, *, as_of_now: bool = False) -> FeatureViewSpec:
    declared = ANSWERS["views"][name]
    return FeatureViewSpec(
        id=f"fv_{name}",
        name=name,
        revision=1,
        dataset=name,
        entities=tuple(declared["entities"]),
        entity_types=("string",) * len(declared["entities"]),
        event_time="at",
        features=tuple(FeatureSpec(name=n, type=kind, kind="column", column=n) for n, kind in declared["features"]),
        freshness_seconds=None if as_of_now else declared["ttl"],
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return bool(one == other)


def test_the_corpus_has_something_to_say() -> None:
    frame = ANSWERS["frame"]
    assert len(frame) == 400
    known = [row for row in frame if row["temp"] is not None and row["delay"] is not None]
    missing = [row for row in frame if row["temp"] is None or row["delay"] is None]
    assert len(known) > 300
    assert len(missing) >= 10


@pytest.mark.parametrize("as_received", [False, True])
def test_training_frames_are_feasts(as_received: bool) -> None:
    connection = open_duckdb(threads=1, memory_bytes=1 << 28)
    labels = f"'{CORPUS}/labels.parquet'"
    for name in ANSWERS["views"]:
        # Each row was received at its event, so what was received by then is what had happened.
        view = view_of(name).model_copy(update={"as_received": as_received})
        sources = Sources(labels, "when", f"'{CORPUS}/{name}.parquet'", 1_000)
        connection.register(f"{name}_frame", pa.Table.from_batches(list(History(connection, view).join(sources))))
        labels = f"{name}_frame"
    ours = connection.execute(f"SELECT * FROM {labels} ORDER BY id").to_arrow_table().to_pylist()
    connection.close()
    assert len(ours) == len(ANSWERS["frame"])
    for mine, its in zip(ours, ANSWERS["frame"], strict=True):
        for name, value in its.items():
            assert same(mine[name], value), f"label {its['id']}: {name} is {mine[name]!r}, Feast says {value!r}"


@pytest.mark.parametrize("segment", [10_000, 97])
def test_online_values_are_feasts(tmp_path: Path, segment: int) -> None:
    store = SqliteOnlineStore(tmp_path / "online.sqlite3")
    materialiser, now = Materialiser(store), time.time_ns() // 1_000
    for name, declared in ANSWERS["views"].items():
        view = view_of(name, as_of_now=True)
        rows = pq.read_table(CORPUS / f"{name}.parquet")
        state = materialiser.begin(ENVIRONMENT, view, journal="j")
        for start in range(0, rows.num_rows, segment):
            materialiser.append(state, rows.slice(start, segment), now_us=now)
        read = FeatureFetcher(store).read(ENVIRONMENT, view, declared["ask"], now_us=now)
        reader, readings, errors = asyncio.run(read)
        assert not errors
        for entity, reading, its in zip(declared["ask"], readings, ANSWERS["online"][name], strict=True):
            assert reading is not None
            mine = dict(zip(reader.names, reading.values, strict=True))
            assert all(same(mine[feature], value) for feature, value in its.items()), f"{entity}: {mine}, Feast: {its}"
    materialiser.close()
    store.close()
