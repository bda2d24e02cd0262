"""A home with a model, a dataset in the lake, and batch jobs over it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from tests.builders.models import make_version

from headwater.core.ids import new_id
from headwater.core.jobs import BATCH_SCORE, BatchScore
from headwater.core.settings import Settings
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction, TableState
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import Job, JobStore, NewJob
from headwater.jobs import runner

ENVIRONMENT = "env_1"
SOURCE = f"{ENVIRONMENT}/trips"
OUTPUT = f"{ENVIRONMENT}/batch_predictions_delay"


@dataclass
class Batches:
    """A home's journal and queue, and what is in them."""

    settings: Settings
    journal: Journal
    queue: JobStore
    version: ModelVersionSpec

    def add(self, state: TableState | None = None, **changes: Any) -> str:
        """Queue a job over the dataset; return its id."""
        state = state or open_lake(self.settings).state(SOURCE)
        task = BatchScore(
            **{
                "environment_id": ENVIRONMENT,
                "model": "delay",
                "version": self.version,
                "dataset": "trips",
                "dataset_version": None if state is None else state.version,
                "files": () if state is None else state.files,
                "columns": {"a": "a", "b": "b"},
                "principal_id": "sva_1",
                "request_id": "req_1",
                "config_version": 1,
                "chunk_rows": 100,
                **changes,
            }
        )
        job = NewJob(
            id=new_id("job"),
            kind=BATCH_SCORE,
            environment_id=ENVIRONMENT,
            subject="delay",
            principal_id="sva_1",
            payload=task.model_dump_json().encode(),
            total=0 if state is None else state.rows,
            created_us=time.time_ns() // 1_000,
        )
        return self.queue.add(job, most_waiting=10)[0].new.id

    def work(self) -> None:
        """Work off what is due, in this process."""
        runner.work_off(self.queue, self.journal, self.settings, threading.Event())

    def score(self, **changes: Any) -> Job:
        """Queue a job, work it off and return it as it is then."""
        job_id = self.add(**changes)
        self.work()
        return self.find(job_id)

    def find(self, job_id: str) -> Job:
        """Return a job."""
        job = self.queue.find(ENVIRONMENT, job_id)
        assert job is not None
        return job

    def written(self) -> list[dict[str, Any]]:
        """Return every prediction in the journal, in order."""
        return read_output(self.journal)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Lend the process that works jobs off; when it dies, its job is free after half a second."""
        with subprocess.Popen(
            [sys.executable, "-c", "from headwater.jobs.runner import main; main(lease_seconds=0.5)"],
            stdin=subprocess.PIPE,
            env=os.environ | self.settings.to_environment(),
        ) as process:
            yield process


@contextmanager
def batches(settings: Settings, rows: Sequence[Mapping[str, Any]] = ()) -> Iterator[Batches]:
    """Lend a home whose dataset ``trips`` has these rows; its model answers ``a + 10 * b``."""
    if rows:
        put_rows(settings, rows)
    journal, queue = open_journal(settings), open_queue(settings)
    try:
        yield Batches(settings, journal, queue, make_version(settings))
    finally:
        queue.close()
        journal.close()


def put_rows(settings: Settings, rows: Sequence[Mapping[str, Any]], *, first_seq: int = 1) -> None:
    """Append a file to the dataset; rows are numbered from ``first_seq`` on."""
    table = pa.Table.from_pylist([{**row, "_hw_seq": first_seq + index} for index, row in enumerate(rows)])
    open_lake(settings).append(SOURCE, table, AppTransaction("test", first_seq))


def read_output(journal: Journal) -> list[dict[str, Any]]:
    """Return every batch prediction in a journal."""
    blocks = journal.read(OUTPUT, max_rows=10**9, max_bytes=1 << 40)
    return [row for block in blocks for row in pa.ipc.open_stream(block.block.payload).read_all().to_pylist()]


def once_each(rows: Sequence[Mapping[str, Any]], seqs: Sequence[int]) -> bool:
    """Return whether there is exactly one prediction for each of these source rows, and no two have one id."""
    counts = Counter(row["source_seq"] for row in rows)
    return counts == Counter(seqs) and len({row["prediction_id"] for row in rows}) == len(rows)
