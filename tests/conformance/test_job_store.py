"""What every job queue promises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import (
    MAX_ATTEMPTS,
    Claim,
    Held,
    Job,
    JobStore,
    Keyed,
    NewJob,
    Progress,
    State,
    pause_seconds,
)

LEASE = 1_000
SECOND = 1_000_000
ERROR = {"code": "overloaded", "detail": "not now", "hint": None, "rows": [1, 2]}
Open = Callable[[], JobStore]


@pytest.fixture(params=["sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return what opens the queue once more, as another process does."""
    assert request.param == "sqlite"
    stores: list[JobStore] = []

    def again() -> JobStore:
        stores.append(open_queue(Settings(home=tmp_path)))
        return stores[-1]

    yield again
    for store in stores:
        store.close()


@pytest.fixture
def queue(reopen: Open) -> JobStore:
    return reopen()


def put(queue: JobStore, name: str, *, environment: str = "env_1", at: int = 0, keyed: Keyed | None = None) -> Job:
    job = NewJob(name, "count", environment, "delay", "sva_1", b"payload", 100, at)
    return queue.add(job, keyed, most_waiting=10)[0]


def take(queue: JobStore, now: int = 1) -> Claim:
    claim = queue.claim(now_us=now, lease_us=LEASE)
    assert claim is not None
    return claim


def get(queue: JobStore, name: str) -> Job:
    job = queue.find("env_1", name)
    assert job is not None
    return job


def test_a_job_is_as_it_was_put_whoever_opens_the_queue(queue: JobStore, reopen: Open) -> None:
    added = put(queue, "a")
    assert added.state is State.QUEUED
    assert added.new == NewJob("a", "count", "env_1", "delay", "sva_1", b"payload", 100, 0)
    assert get(reopen(), "a") == added


def test_jobs_of_other_environments_are_not_there(queue: JobStore) -> None:
    put(queue, "a", environment="env_2")
    assert queue.find("env_1", "a") is None
    assert queue.cancel("env_1", "a", now_us=1) is None
    assert queue.recent("env_1", limit=9) == []


def test_the_newest_come_first(queue: JobStore) -> None:
    for name in "abc":
        put(queue, name)
    assert [job.new.id for job in queue.recent("env_1", limit=2)] == ["c", "b"]


def test_a_claimed_job_is_nobody_elses_until_its_lease_runs_out(queue: JobStore, reopen: Open) -> None:
    put(queue, "a")
    first = take(queue, 1)
    assert (first.job.state, first.job.attempts, first.job.started_us) == (State.RUNNING, 1, 1)
    other = reopen()
    assert not other.is_due(LEASE)
    assert other.claim(now_us=LEASE, lease_us=LEASE) is None
    assert other.is_due(1 + LEASE)
    second = take(other, 1 + LEASE)
    assert second.job.attempts == 2
    assert queue.keep(first, Progress(7), now_us=2, lease_us=LEASE) is Held.LOST
    assert not queue.finish(first, State.SUCCEEDED, now_us=2)
    assert queue.put_back(first, now_us=2) is State.RUNNING
    assert get(queue, "a").progress == Progress()
    assert other.finish(second, State.SUCCEEDED, now_us=9)
    assert (get(queue, "a").state, get(queue, "a").finished_us) == (State.SUCCEEDED, 9)


def test_whoever_goes_on_keeps_the_lease(queue: JobStore) -> None:
    put(queue, "a")
    claim = take(queue, 1)
    assert queue.keep(claim, now_us=900, lease_us=LEASE) is Held.KEPT
    assert not queue.is_due(1_500)
    assert queue.is_due(1_900)


def test_progress_is_where_the_next_one_resumes_and_forgives(queue: JobStore) -> None:
    put(queue, "a")
    progress = Progress(40, {"scored": 39, "failed": 1}, {"file": 2, "row": 8})
    for number in range(MAX_ATTEMPTS + 3):  # it dies each time, and each time it has got on
        claim = take(queue, number * 2 * LEASE)
        queue.keep(claim, progress, now_us=number * 2 * LEASE, lease_us=LEASE)
    assert take(queue, 10**9).job.progress == progress


def test_a_job_whose_workers_die_at_once_is_dead_after_a_few(queue: JobStore) -> None:
    put(queue, "a")
    for number in range(MAX_ATTEMPTS):
        take(queue, 1 + number * LEASE)
    assert queue.claim(now_us=10**9, lease_us=LEASE) is None
    job = get(queue, "a")
    assert job.state is State.FAILED
    assert job.error is not None
    assert "ended without a word" in job.error["detail"]


def test_an_error_has_the_job_rest_longer_each_time_until_it_is_dead(queue: JobStore) -> None:
    put(queue, "a")
    now = 1
    for attempt in range(1, MAX_ATTEMPTS):
        claim = take(queue, now)
        assert claim.job.attempts == attempt
        assert queue.put_back(claim, now_us=now, error=ERROR) is State.QUEUED
        job = get(queue, "a")
        due = now + int(pause_seconds(attempt) * SECOND)
        assert (job.error, job.retry_us) == (ERROR, due)
        assert queue.claim(now_us=due - 1, lease_us=LEASE) is None
        now = due
    assert queue.put_back(take(queue, now), now_us=now, error=ERROR) is State.FAILED
    assert get(queue, "a").error == ERROR
    assert not queue.is_due(1 << 60)


def test_a_job_put_back_without_an_error_loses_nothing(queue: JobStore) -> None:
    put(queue, "a")
    for _ in range(3 * MAX_ATTEMPTS):
        assert queue.put_back(take(queue, 5), now_us=5) is State.QUEUED
    assert get(queue, "a").attempts == 0


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_told(queue: JobStore) -> None:
    put(queue, "a")
    put(queue, "b")
    claim = take(queue, 1)
    assert claim.job.new.id == "a"
    asked = queue.cancel("env_1", "a", now_us=2)
    assert asked is not None
    assert (asked.state, asked.is_cancelling) == (State.RUNNING, True)
    assert queue.keep(claim, Progress(1), now_us=3, lease_us=LEASE) is Held.CANCELLED
    queue.finish(claim, State.CANCELLED, now_us=4)
    waiting = queue.cancel("env_1", "b", now_us=5)
    assert waiting is not None
    assert (waiting.state, waiting.finished_us) == (State.CANCELLED, 5)
    assert queue.claim(now_us=10**9, lease_us=LEASE) is None


def test_a_cancelled_job_whose_worker_died_is_not_started_again(queue: JobStore) -> None:
    for name in "ab":
        put(queue, name)
        take(queue, 1)
    queue.cancel("env_1", "a", now_us=2)  # while its worker still may live
    gone = queue.cancel("env_1", "b", now_us=2 + LEASE)  # when it does not
    assert gone is not None
    assert gone.state is State.CANCELLED
    assert queue.claim(now_us=10**9, lease_us=LEASE) is None
    assert get(queue, "a").state is State.CANCELLED


def test_what_is_finished_stays_as_it_is(queue: JobStore) -> None:
    put(queue, "a")
    queue.finish(take(queue), State.FAILED, now_us=3, error=ERROR)
    after = queue.cancel("env_1", "a", now_us=4)
    assert after is not None
    assert (after.state, after.finished_us, after.error) == (State.FAILED, 3, ERROR)


def test_the_same_key_is_the_same_job_and_another_request_with_it_is_refused(queue: JobStore) -> None:
    keyed = Keyed(b"s" * 32, b"f" * 32)
    first = put(queue, "a", keyed=keyed)
    again, is_new = queue.add(NewJob("b", "count", "env_1", "delay", "sva_1", b"", 0, 0), keyed, most_waiting=0)
    assert (again, is_new) == (first, False)
    assert queue.find_keyed(keyed) == first
    assert queue.find_keyed(Keyed(b"t" * 32, b"f" * 32)) is None
    with pytest.raises(HeadwaterError) as caught:
        put(queue, "c", keyed=Keyed(b"s" * 32, b"g" * 32))
    assert caught.value.code == "idempotency_key_reused"
    assert len(queue.recent("env_1", limit=9)) == 1


def test_an_environment_may_have_so_many_unfinished_jobs(queue: JobStore) -> None:
    for number in range(10):
        put(queue, str(number))
    with pytest.raises(HeadwaterError) as caught:
        put(queue, "one more")
    assert caught.value.code == "rate_limited"
    put(queue, "of another", environment="env_2")
    queue.cancel("env_1", "3", now_us=1)
    put(queue, "now it may")


def test_finished_jobs_are_forgotten_after_a_while_and_others_never(queue: JobStore) -> None:
    put(queue, "done")
    put(queue, "waiting")
    queue.finish(take(queue), State.SUCCEEDED, now_us=10)
    assert queue.prune(finished_before_us=10) == 0
    assert queue.prune(finished_before_us=11) == 1
    assert [job.new.id for job in queue.recent("env_1", limit=9)] == ["waiting"]


def test_many_workers_never_have_the_same_job(queue: JobStore, reopen: Open) -> None:
    for number in range(10):
        put(queue, str(number))
    start = threading.Barrier(4)

    def work(store: JobStore) -> list[str]:
        start.wait()
        found = []
        while (claim := store.claim(now_us=1, lease_us=LEASE)) is not None:
            found.append(claim.job.new.id)
        return found

    with ThreadPoolExecutor(4) as pool:
        taken = [name for names in pool.map(work, [reopen() for _ in range(4)]) for name in names]
    assert sorted(taken) == [str(number) for number in range(10)]


def test_a_queue_of_a_newer_release_is_left_alone(queue: JobStore, reopen: Open, tmp_path: Path) -> None:
    queue.close()
    connection = apsw.Connection(str(tmp_path / "jobs" / "jobs.sqlite3"))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(HeadwaterError) as caught:
        reopen()
    assert caught.value.code == "home_version"
