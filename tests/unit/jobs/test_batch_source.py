"""Chunks of a dataset's files: the same however often they are read, and from wherever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.builders.models import make_version

from headwater.core.jobs import BatchScore, RowChoice
from headwater.core.settings import Settings
from headwater.jobs.batch.source import Place, RowFilter, Source


@pytest.fixture
def task(tmp_path: Path) -> BatchScore:
    """Return a job over two files: one of three row groups, and an older one that lacks a column."""
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    numbers = list(range(25))
    pq.write_table(pa.table({"a": numbers, "b": numbers, "_hw_seq": numbers}), first, row_group_size=10)
    pq.write_table(pa.table({"a": [25, 26], "_hw_seq": [25, 26]}), second)
    return BatchScore(
        environment_id="env_1",
        model="delay",
        version=make_version(Settings(home=tmp_path)),
        dataset="trips",
        dataset_version=1,
        files=(str(first), str(second)),
        columns={"a": "a", "b": "b"},
        principal_id="sva_1",
        request_id="req_1",
        config_version=1,
        chunk_rows=4,
    )


START = Place()


def read(task: BatchScore, start: Place = START) -> list[tuple[Place, Place, list[int]]]:
    chunks = Source(task).chunks(start)
    return [(chunk.place, chunk.next_place, chunk.rows["_hw_seq"].to_pylist()) for chunk in chunks]


def test_chunks_have_every_row_once_and_end_with_their_row_group(task: BatchScore) -> None:
    chunks = read(task)
    assert [seqs for _place, _next, seqs in chunks] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
        [10, 11, 12, 13],
        [14, 15, 16, 17],
        [18, 19],
        [20, 21, 22, 23],
        [24],
        [25, 26],
    ]


def test_from_every_place_the_rest_is_read_in_the_same_chunks(task: BatchScore) -> None:
    chunks = read(task)
    for number, (place, following, _seqs) in enumerate(chunks):
        assert read(task, place) == chunks[number:]
        assert read(task, following) == chunks[number + 1 :]
        assert Place.read({**place.plain, "last_seq": 9}) == place


def test_a_column_that_a_file_is_too_old_to_have_is_null(task: BatchScore) -> None:
    *_, last = Source(task).chunks(START)
    assert last.rows["b"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("n > 1", [2, 3]),
        ("n is null", [1, 4]),  # what is not a finite number is none to a condition
        ("flag", [2]),
        ("not flag", [3]),
        ("null", []),
        ("text = 'O''Hara'", [2]),
        ('contains(text, "x")', []),
    ],
)
def test_conditions_keep_the_rows_they_hold_for_in_order(where: str, kept: Sequence[int]) -> None:
    names: dict[str, Any] = {"n": "number", "flag": "boolean", "text": "string"}
    rows = pa.table(
        {
            "n": [float("nan"), 2.0, 3.0, None],
            "flag": [None, True, False, None],
            "text": ["", "O'Hara", None, "y"],
            "_hw_seq": [1, 2, 3, 4],
        }
    )
    chosen = RowFilter(RowChoice(where=where.replace('"', "'"), names=names))
    assert chosen.choose(rows)["_hw_seq"].to_pylist() == kept
    assert chosen.choose(rows.slice(0, 0)).num_rows == 0
    chosen.close()
