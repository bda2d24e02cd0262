"""The process that works off jobs: ``python -m headwater.jobs.runner``, started when a job is due.

It claims one job after the other and ends when none is left. SIGTERM, or the end of the process that started it, has it
put the job back at the next chunk. It may be killed at any moment.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.core.jobs import BATCH_SCORE, FEATURE_SKEW
from headwater.core.logging import configure_logging, get_logger
from headwater.core.settings import Settings, load_settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import Claim, Held, Job, JobStore, Progress, State
from headwater.jobs import batch_score, feature_skew

#: How long a job of a worker that died waits. One that only takes longer goes on, unless another has claimed the job.
LEASE_SECONDS: Final = 30.0
_BEAT_SECONDS: Final = 2.0
_KEPT_US: Final = 30 * 24 * 3_600 * 1_000_000
_STDIN: Final = 0
_NICENESS: Final = 10  # requests go first

Work = Callable[[Job, batch_score.Hold, Journal, Settings], None]
WORK: Final[Mapping[str, Work]] = {BATCH_SCORE: batch_score.run, FEATURE_SKEW: feature_skew.run}

_log = get_logger(__name__)


class Interrupted(Exception):
    """The worker must stop working on its job."""


class Cancelled(Interrupted):
    """Somebody cancelled the job."""


class LeaseLost(Interrupted):
    """Another worker has the job: it was taken for dead here."""


class Stopping(Interrupted):
    """This process ends."""


class LeasedHold:
    """A worker's hold on its job: the lease, prolonged every few seconds by whoever works."""

    def __init__(self, store: JobStore, claim: Claim, stop: threading.Event, *, lease_seconds: float) -> None:
        """Hold what was claimed just now."""
        self._store = store
        self._claim = claim
        self._stop = stop
        self._lease_us = int(lease_seconds * 1e6)
        self._beat_at = time.monotonic() + _BEAT_SECONDS

    def beat(self) -> None:
        """Prolong the lease when it is time to; raises ``Interrupted``."""
        if self._stop.is_set():
            raise Stopping
        if time.monotonic() >= self._beat_at:
            self._keep(None)

    def note(self, progress: Progress) -> None:
        """Note progress; raises ``Interrupted``."""
        self._keep(progress)

    def _keep(self, progress: Progress | None) -> None:
        held = self._store.keep(self._claim, progress, now_us=_now_us(), lease_us=self._lease_us)
        if held is Held.CANCELLED:
            raise Cancelled
        if held is Held.LOST:
            raise LeaseLost
        self._beat_at = time.monotonic() + _BEAT_SECONDS


def work_off(
    store: JobStore,
    journal: Journal,
    settings: Settings,
    stop: threading.Event,
    *,
    lease_seconds: float = LEASE_SECONDS,
    work: Mapping[str, Work] = WORK,
) -> int:
    """Work on jobs until none is due or ``stop`` is set; return how many were claimed."""
    claimed = 0
    store.prune(finished_before_us=_now_us() - _KEPT_US)
    while not stop.is_set():
        claim = store.claim(now_us=_now_us(), lease_us=int(lease_seconds * 1e6))
        if claim is None:
            break
        claimed += 1
        hold = LeasedHold(store, claim, stop, lease_seconds=lease_seconds)
        _work_on(store, claim, lambda claim=claim, hold=hold: _do(claim.job, hold, journal, settings, work))  # type: ignore[misc]
    return claimed


def _do(job: Job, hold: LeasedHold, journal: Journal, settings: Settings, work: Mapping[str, Work]) -> None:
    known = work.get(job.new.kind)
    if known is None:
        raise HeadwaterError(
            "conflict", f"this Headwater knows no job of kind {job.new.kind!r}", hint="run the newer Headwater here too"
        )
    known(job, hold, journal, settings)


def _work_on(store: JobStore, claim: Claim, do: Callable[[], None]) -> None:
    """Do a job and record what became of it."""
    labels = {"job": claim.job.new.id, "kind": claim.job.new.kind}
    _log.info("job_started", attempt=claim.job.attempts, done=claim.job.progress.done, **labels)
    try:
        do()
    except Cancelled:
        store.finish(claim, State.CANCELLED, now_us=_now_us())
        _log.info("job_cancelled", **labels)
    except LeaseLost:
        _log.warning("job_lease_lost", **labels)
    except Stopping:
        store.put_back(claim, now_us=_now_us())
        _log.info("job_put_back", **labels)
    except HeadwaterError as error:
        if error.retry_after_seconds is None:
            store.finish(claim, State.FAILED, now_us=_now_us(), error=_plain(error))
            _log.warning("job_failed", error=error.detail, **labels)
        else:
            state = store.put_back(claim, now_us=_now_us(), error=_plain(error))
            _log.warning("job_tried_in_vain", error=error.detail, state=state.value, **labels)
    except Exception as error:  # noqa: BLE001 - the queue must hear of it
        # Whatever it is, it may have to do with the moment: it is tried again, and the last attempt decides.
        detail = f"{type(error).__name__}: {error}"
        store.put_back(claim, now_us=_now_us(), error={"code": "internal", "detail": detail, "hint": "see the log"})
        _log.exception("job_broke", **labels)
    else:
        store.finish(claim, State.SUCCEEDED, now_us=_now_us())
        _log.info("job_succeeded", **labels)


def _plain(error: HeadwaterError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.detail, "hint": error.hint, **error.extra}


def main(*, lease_seconds: float = LEASE_SECONDS) -> None:
    """Work off what is due with the settings of the environment, and end."""
    settings = load_settings()
    configure_logging(settings.log, process="jobs")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGINT, lambda _number, _frame: stop.set())
    threading.Thread(target=_watch_parent, args=(stop,), name="parent", daemon=True).start()
    os.nice(_NICENESS)
    try:
        _serve(settings, stop, lease_seconds)
    except HeadwaterError as error:
        # The worker starts another one before long.
        _log.error("jobs_not_worked_off", error=error.detail, hint=error.hint)
        sys.exit(1)


def _serve(settings: Settings, stop: threading.Event, lease_seconds: float) -> None:
    store = open_queue(settings)
    try:
        journal = open_journal(settings)
        try:
            work_off(store, journal, settings, stop, lease_seconds=lease_seconds)
        finally:
            journal.close()
    finally:
        store.close()


def _watch_parent(stop: threading.Event) -> None:
    """Stop when standard input ends: it is a pipe from the worker, which closes it or dies."""
    if not os.isatty(_STDIN):
        # Not by way of sys.stdin: a thread that waits in its buffer keeps the interpreter from ending.
        while os.read(_STDIN, 1):
            pass
        stop.set()


def _now_us() -> int:
    return time.time_ns() // 1_000


if __name__ == "__main__":
    main()
