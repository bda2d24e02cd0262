"""Whatever happens to the process that scores a dataset, each of its rows ends with exactly one prediction."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.builders.batches import OUTPUT, Batches, batches, once_each

from headwater.core.clock import SystemClock
from headwater.core.setting_sections import JournalSettings, LakeSettings
from headwater.core.settings import Settings
from headwater.engines.lake import open_lake
from headwater.engines.queue.protocol import Job, State
from headwater.jobs.seal import seal_segment

ROWS = 6_000
CHUNK = 40
KILLS = 4
PATIENCE_SECONDS = 60.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Batches]:
    settings = Settings(home=tmp_path, journal=JournalSettings(min_free_bytes=0), lake=LakeSettings())
    with batches(settings, [{"a": float(n), "b": float(n % 10)} for n in range(ROWS)]) as found:
        yield found


def test_killed_again_and_again_it_neither_doubles_nor_loses_a_row(home: Batches) -> None:
    job_id = home.add(chunk_rows=CHUNK)
    kills = 0
    while not (job := home.find(job_id)).state.is_final:
        target = job.progress.done + ROWS // (KILLS + 2) if kills < KILLS else ROWS + 1
        with home.running() as process:
            if wait(home, job_id, process, target):
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait(PATIENCE_SECONDS)
        seal(home)  # meanwhile the sealer goes on
    assert kills == KILLS
    assert job.state is State.SUCCEEDED, job.error
    assert (job.progress.done, dict(job.progress.counts)) == (ROWS, {"scored": ROWS, "failed": 0, "skipped": 0})
    seal(home)
    rows = sealed(home)
    assert once_each(rows, range(1, ROWS + 1))
    assert home.journal.totals(OUTPUT).accepted == ROWS
    last = home.journal.find_seal(OUTPUT, job.progress.position["last_seq"])
    assert last is not None
    assert last.table_version >= 0


def test_asked_to_stop_it_puts_the_job_back_where_it_is(home: Batches) -> None:
    job_id = home.add(chunk_rows=CHUNK)
    with home.running() as process:
        assert wait(home, job_id, process, ROWS // 10)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    stopped = home.find(job_id)
    assert (stopped.state, stopped.attempts, stopped.error) == (State.QUEUED, 0, None)
    home.work()
    assert home.find(job_id).state is State.SUCCEEDED
    assert once_each(home.written(), range(1, ROWS + 1))


def test_a_cancelled_job_ends_and_keeps_what_it_wrote(home: Batches) -> None:
    job_id = home.add(chunk_rows=CHUNK)
    with home.running() as process:
        assert wait(home, job_id, process, ROWS // 10)
        asked = home.queue.cancel("env_1", job_id, now_us=time.time_ns() // 1_000)
        assert asked is not None
        assert asked.is_cancelling
        assert process.wait(PATIENCE_SECONDS) == 0
    job = home.find(job_id)
    assert job.state is State.CANCELLED
    seqs = [row["source_seq"] for row in home.written()]
    assert 0 < len(seqs) == len(set(seqs)) < ROWS


def wait(home: Batches, job_id: str, process: subprocess.Popen[bytes], done: int) -> bool:
    """Wait until so many rows are done; return False when the process ends before."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        job: Job = home.find(job_id)
        if job.progress.done >= done and not job.state.is_final:
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    raise TimeoutError(f"{done} rows were never done")


def seal(home: Batches) -> None:
    """Move everything into the lake."""
    lake = open_lake(home.settings)
    while backlogs := home.journal.backlogs():
        seal_segment(home.journal, lake, backlogs[0], limits=home.settings.lake, clock=SystemClock())


def sealed(home: Batches) -> list[dict[str, object]]:
    """Return every prediction in the lake."""
    state = open_lake(home.settings).state(OUTPUT)
    assert state is not None
    return [row for path in state.files for row in pq.read_table(path).to_pylist()]
