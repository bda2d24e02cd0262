"""What everyone promises who scores the chunks of a batch job: the same predictions, errors and counts."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders.batches import Batches, batches, once_each
from tests.builders.frameworks import zipped
from tests.builders.models import SCORE, make_version
from tests.builders.ray_cluster import RayNodes, two_nodes

from headwater.core.setting_sections import BatchSettings, JournalSettings
from headwater.core.settings import Settings
from headwater.engines.queue.protocol import Job, State

ROWS: list[dict[str, Any]] = [{"trip": f"t{n}", "a": float(n), "b": float(n % 7)} for n in range(450)]
PATIENCE_SECONDS = 120.0
Lend = Callable[[Path], Settings]


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(params=["local", "ray"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    batch = BatchSettings()
    if request.param == "ray":
        batch = BatchSettings(executor="ray", address=request.getfixturevalue("nodes").address)
    return Settings(home=tmp_path, journal=JournalSettings(min_free_bytes=0), batch=batch)


@pytest.fixture
def home(settings: Settings) -> Iterator[Batches]:
    with batches(settings, ROWS) as found:
        yield found


def score(home: Batches, **changes: Any) -> Job:
    """Queue a job, have it worked off by the process that does so in earnest, and return it as it is then."""
    job_id = home.add(**changes)
    with home.running() as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    return home.find(job_id)


def test_every_row_is_scored_once_and_in_its_order(home: Batches) -> None:
    job = score(home, keys=("trip",), chunk_rows=40)
    assert job.state is State.SUCCEEDED, job.error
    assert dict(job.progress.counts) == {"scored": 450, "failed": 0, "skipped": 0}
    rows = home.written()
    assert once_each(rows, range(1, 451))
    assert [row["source_seq"] for row in rows] == list(range(1, 451))
    assert [row["output_score"] for row in rows] == [pytest.approx(row["a"] + 10 * row["b"]) for row in ROWS]


def test_a_bad_row_stops_the_job_behind_the_chunks_before_it(settings: Settings) -> None:
    with batches(settings, [*ROWS, {"trip": "t450", "a": None, "b": 1.0}, *ROWS]) as home:
        job = score(home)
        assert job.state is State.FAILED
        assert job.error is not None
        assert (job.error["code"], job.error["source_seq"], job.error["column"]) == ("input_invalid", 451, "a")
        assert once_each(home.written(), range(1, 401))


def test_a_model_in_a_process_of_its_own_says_which_rows_it_fails_for(home: Batches, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "model.zip", {"model.py": FRAGILE})
    version = make_version(home.settings, artifact=archive.read_bytes(), outputs=(SCORE,))
    job = score(home, version=version.model_copy(update={"framework": "python"}), on_error="null")
    assert job.state is State.SUCCEEDED, job.error
    assert dict(job.progress.counts) == {"scored": 449, "failed": 1, "skipped": 0}
    assert [row["source_seq"] for row in home.written() if row["error"]] == [14]


def test_a_model_that_cannot_be_loaded_fails_the_job_with_its_reason(home: Batches) -> None:
    job = score(home, version=make_version(home.settings, 2, artifact=b"no model at all"))
    assert job.error is not None
    assert job.error["code"] == "model_unavailable"
    assert home.written() == []


def test_a_cancelled_job_ends_and_keeps_what_it_wrote(home: Batches, tmp_path: Path) -> None:
    job_id = home.add(version=slow(home, tmp_path), chunk_rows=10)
    with home.running() as process:
        wait(home, job_id, process, done=20)
        home.queue.cancel("env_1", job_id, now_us=time.time_ns() // 1_000)
        assert process.wait(PATIENCE_SECONDS) == 0
    job = home.find(job_id)
    assert job.state is State.CANCELLED
    assert 20 <= job.progress.done < 450
    assert once_each(home.written(), range(1, job.progress.done + 1))


def test_who_works_a_job_off_may_be_killed(home: Batches, tmp_path: Path) -> None:
    job_id = home.add(version=slow(home, tmp_path), chunk_rows=10)
    with home.running() as process:
        wait(home, job_id, process, done=20)
        process.kill()
    with home.running() as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    if home.find(job_id).state is not State.SUCCEEDED:  # it was back before the lease had run out
        time.sleep(1)
        with home.running() as process:
            assert process.wait(PATIENCE_SECONDS) == 0
    job = home.find(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert dict(job.progress.counts) == {"scored": 450, "failed": 0, "skipped": 0}
    assert once_each(home.written(), range(1, 451))


def test_a_cluster_of_ones_own_is_started_and_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, journal=JournalSettings(min_free_bytes=0), batch=BatchSettings(executor="ray"))
    before = set(Path(tempfile.gettempdir()).glob("headwater-ray-*"))
    with batches(settings, ROWS) as home:
        job = score(home)
        assert job.state is State.SUCCEEDED, job.error
        assert once_each(home.written(), range(1, 451))
    assert not set(Path(tempfile.gettempdir()).glob("headwater-ray-*")) - before


def test_a_worker_of_the_cluster_that_is_killed_loses_and_doubles_nothing(nodes: RayNodes, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        journal=JournalSettings(min_free_bytes=0),
        batch=BatchSettings(executor="ray", address=nodes.address),
    )
    with batches(settings, ROWS) as home:
        job_id = home.add(version=slow(home, tmp_path), chunk_rows=10)
        with home.running() as process:
            wait(home, job_id, process, done=20)
            nodes.kill_worker(PATIENCE_SECONDS)
            assert process.wait(PATIENCE_SECONDS) == 0
        job = home.find(job_id)
        assert job.state is State.SUCCEEDED, job.error
        assert (job.attempts, dict(job.progress.counts)) == (1, {"scored": 450, "failed": 0, "skipped": 0})
        assert once_each(home.written(), range(1, 451))


def slow(home: Batches, folder: Path) -> Any:
    """Return a version that takes half a tenth of a second for a chunk."""
    archive = zipped(folder / "slow.zip", {"model.py": SLOW})
    version = make_version(home.settings, 3, artifact=archive.read_bytes(), outputs=(SCORE,))
    return version.model_copy(update={"framework": "python"})


def wait(home: Batches, job_id: str, process: subprocess.Popen[bytes], *, done: int) -> None:
    """Wait until so many rows are done."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while home.find(job_id).progress.done < done:
        assert process.poll() is None, home.find(job_id)
        assert time.monotonic() < ends_at
        time.sleep(0.01)


FRAGILE = """
class Model:
    def __init__(self, directory):
        pass

    def predict(self, columns):
        if 13 in columns["a"]:
            raise ValueError("thirteen brings bad luck")
        return {"score": columns["a"] + columns["b"]}
"""
SLOW = """
import time

class Model:
    def __init__(self, directory):
        pass

    def predict(self, columns):
        time.sleep(0.05)
        return {"score": columns["a"]}
"""
