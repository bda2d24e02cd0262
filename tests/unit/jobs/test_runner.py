"""What becomes of a job when its work ends one way or another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.memory_journal import MemoryJournal

from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import Job, JobStore, NewJob, Progress, State
from headwater.jobs import runner
from headwater.jobs.batch_score import Hold


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobStore]:
    store = open_queue(Settings(home=tmp_path))
    yield store
    store.close()


def put(queue: JobStore, name: str = "a", kind: str = "count") -> None:
    queue.add(NewJob(name, kind, "env_1", "delay", "sva_1", b"", 3, 0), most_waiting=9)


def get(queue: JobStore, name: str = "a") -> Job:
    job = queue.find("env_1", name)
    assert job is not None
    return job


def run(
    queue: JobStore,
    do: Callable[[Job, Hold], None],
    *,
    stop: threading.Event | None = None,
    lease_seconds: float = 60.0,
) -> int:
    def work(job: Job, hold: Hold, _journal: Journal, _settings: Settings) -> None:
        do(job, hold)

    return runner.work_off(
        queue,
        MemoryJournal(),
        Settings(),
        stop or threading.Event(),
        lease_seconds=lease_seconds,
        work={"count": work},
    )


def test_every_job_that_is_due_is_done_in_the_order_they_were_asked_for(queue: JobStore) -> None:
    for name in "abc":
        put(queue, name)
    done: list[str] = []

    def do(job: Job, hold: Hold) -> None:
        done.append(job.new.id)
        hold.note(Progress(3, {"scored": 3}))

    assert run(queue, do) == 3
    assert done == ["a", "b", "c"]
    assert {get(queue, name).state for name in "abc"} == {State.SUCCEEDED}
    assert get(queue).progress == Progress(3, {"scored": 3})


def test_what_cannot_be_helped_fails_at_once_and_what_may_pass_is_tried_again(queue: JobStore) -> None:
    errors = {
        "a": HeadwaterError("input_invalid", "row 7 is bad", hint="mend it", extra={"source_seq": 7}),
        "b": HeadwaterError("storage_exhausted", "the disk is full", retry_after_seconds=10),
        "c": OSError("the disk is gone"),
        "d": ZeroDivisionError("a bug"),
    }
    for name in errors:
        put(queue, name)

    def do(job: Job, _hold: Hold) -> None:
        raise errors[job.new.id]

    assert run(queue, do) == 4
    assert [get(queue, name).state for name in errors] == [State.FAILED, *[State.QUEUED] * 3]
    assert get(queue, "a").error == {
        "code": "input_invalid",
        "detail": "row 7 is bad",
        "hint": "mend it",
        "source_seq": 7,
    }
    assert [(get(queue, name).error or {})["code"] for name in "bcd"] == ["storage_exhausted", "internal", "internal"]
    assert run(queue, do) == 0  # they rest


def test_a_job_of_a_kind_that_is_not_known_fails_and_says_so(queue: JobStore) -> None:
    put(queue, kind="dream")
    run(queue, lambda _job, _hold: None)
    job = get(queue)
    assert job.state is State.FAILED
    assert job.error is not None
    assert "'dream'" in job.error["detail"]


def test_a_cancelled_job_hears_of_it_with_its_next_note(queue: JobStore) -> None:
    put(queue)

    def do(job: Job, hold: Hold) -> None:
        queue.cancel("env_1", job.new.id, now_us=runner._now_us())
        hold.note(Progress(1))
        raise AssertionError("it went on")

    run(queue, do)
    assert (get(queue).state, get(queue).progress.done) == (State.CANCELLED, 1)


def test_a_worker_that_must_stop_puts_its_job_back_and_takes_no_other(queue: JobStore) -> None:
    put(queue, "a")
    put(queue, "b")
    stop = threading.Event()

    def do(_job: Job, hold: Hold) -> None:
        hold.note(Progress(1))
        stop.set()
        hold.beat()
        raise AssertionError("it went on")

    assert run(queue, do, stop=stop) == 1
    assert (get(queue).state, get(queue).progress.done, get(queue).error) == (State.QUEUED, 1, None)


def test_a_worker_that_was_taken_for_dead_stops_and_changes_nothing(queue: JobStore) -> None:
    put(queue)

    def do(_job: Job, hold: Hold) -> None:
        other = queue.claim(now_us=1 << 52, lease_us=10**9)
        assert other is not None
        hold.note(Progress(2))
        raise AssertionError("it went on")

    run(queue, do)
    job = get(queue)
    assert (job.state, job.progress.done, job.attempts) == (State.RUNNING, 0, 2)


def test_beats_prolong_the_lease_now_and_then(queue: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_BEAT_SECONDS", 0.0)
    put(queue)

    def do(_job: Job, hold: Hold) -> None:
        before = runner._now_us()
        hold.beat()
        assert not queue.is_due(before + 50_000_000)

    run(queue, do)
    assert get(queue).state is State.SUCCEEDED
