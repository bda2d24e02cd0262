"""What the worker adds to control's tasks: the data plane's jobs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from celery import Celery
from tests.builders.batches import ENVIRONMENT, batches, once_each

from headwater.cli.worker import _compose
from headwater.core.setting_sections import BatchSettings, JournalSettings
from headwater.core.settings import Settings
from headwater.engines.queue import queue_path
from headwater.engines.queue.protocol import State
from headwater.jobs.launcher import JobLauncher

SECONDS = 30.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, journal=JournalSettings(min_free_bytes=0))


def test_the_schedule_has_a_task_that_launches_jobs(settings: Settings) -> None:
    app = Celery("test", broker="memory://", set_as_current=False)
    launcher = _compose(app, settings)
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} == {"jobs.launch", "jobs.check_skew"}
    assert app.tasks["jobs.launch"].apply().get() is False
    assert app.tasks["jobs.check_skew"].apply().get() == 0
    for name in ("jobs.launch", "jobs.check_skew"):
        app.tasks[name].apply_async()  # as beat does, which checks the arguments
    assert not settings.home.joinpath("jobs").exists()  # a home without jobs stays without a queue
    launcher.close()


def test_a_process_is_started_when_a_job_is_due_and_ends_when_none_is(settings: Settings) -> None:
    with batches(settings, [{"a": 1.0, "b": float(n)} for n in range(50)]) as home:
        left = settings.home / "jobs" / "spill-of-one-that-was-killed"
        left.mkdir()
        launcher = JobLauncher(settings)
        assert not launcher.tick()
        job_id = home.add()
        assert launcher.tick()
        ends_at = time.monotonic() + SECONDS
        while launcher.tick():
            assert time.monotonic() < ends_at
            time.sleep(0.02)
        launcher.close()
        job = home.queue.find(ENVIRONMENT, job_id)
        assert job is not None
        assert job.state is State.SUCCEEDED, job.error
        assert once_each(home.written(), range(1, 51))
        assert not left.exists()


def test_a_queue_that_cannot_be_read_is_no_reason_to_stop_looking(settings: Settings) -> None:
    path = queue_path(settings)
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all" * 100)
    launcher = JobLauncher(settings)
    assert not launcher.tick()
    path.unlink()
    assert not launcher.tick()


def test_closing_it_has_the_job_put_back(settings: Settings) -> None:
    with batches(settings, [{"a": 1.0, "b": float(n)} for n in range(4_000)]) as home:
        job_id = home.add(chunk_rows=20)
        launcher = JobLauncher(settings)
        assert launcher.tick()
        ends_at = time.monotonic() + SECONDS
        while not home.find(job_id).progress.done:
            assert time.monotonic() < ends_at
            time.sleep(0.01)
        launcher.close()
        job = home.find(job_id)
        assert job.state is State.QUEUED
        assert job.attempts == 0


def test_as_many_jobs_are_worked_off_at_a_time_as_may_be(settings: Settings) -> None:
    both = settings.model_copy(update={"batch": BatchSettings(jobs_at_once=2)})
    with batches(both, [{"a": 1.0, "b": float(n)} for n in range(4_000)]) as home:
        jobs = [home.add(chunk_rows=20) for _ in range(3)]
        launcher = JobLauncher(both)
        ends_at = time.monotonic() + SECONDS
        while sum(home.find(job).state is State.RUNNING for job in jobs) < 2:
            assert launcher.tick()
            assert time.monotonic() < ends_at
            time.sleep(0.02)
        assert [home.find(job).state for job in jobs] == [State.RUNNING, State.RUNNING, State.QUEUED]
        launcher.close()
        assert {home.find(job).state for job in jobs} == {State.QUEUED}
