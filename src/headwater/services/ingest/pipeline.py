"""From the event loop to the disk: requests that wait are encoded together and committed together.

The loop puts submissions into a queue; the encoder thread takes all that wait, makes one segment per dataset and
contract version, and hands the segments to the group commit. While one round is being made durable the next one is
encoded; never more, so that rounds grow with the load instead of queueing up. A few rows are encoded in the loop
itself as soon as the disk is free: that takes less time than two threads passing the interpreter to and fro.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.engines.journal.protocol import IdempotencyConflict
from headwater.services.ingest import metrics
from headwater.services.ingest.segment import Segment
from headwater.services.ingest.verdict import Submission, Verdict
from headwater.services.kit.service import Committer

MAX_GROUP_ROWS: Final = 20_000
OVERLAP_FROM_ROWS: Final = 512
INLINE_BELOW_ROWS: Final = 2_048
ROUNDS_AHEAD: Final = 1

_log = get_logger(__name__)
Outcome = Verdict | BaseException


class Pipeline:
    """The way of submissions to the journal. Belongs to one event loop."""

    def __init__(self, committer: Committer) -> None:
        """Prepare; ``start`` begins."""
        self._committer = committer
        self._gathered: list[Submission] = []
        self._gathered_rows = 0
        self._with_encoder = 0  # submissions that the encoder thread has not put into a round yet
        self._with_encoder_lock = Lock()
        self._queue: SimpleQueue[list[Submission] | None] = SimpleQueue()
        self._ahead = Semaphore(ROUNDS_AHEAD)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._closed = False

    @property
    def is_running(self) -> bool:
        """Return whether submissions are being taken."""
        return self._thread is not None and self._thread.is_alive() and not self._closed

    def start(self) -> None:
        """Start the encoder thread for the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run, name="ingest-encoder", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Commit what waits and end the thread."""
        self._closed = True
        if self._thread is not None:
            self._to_encoder()
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def submit(self, submission: Submission) -> asyncio.Future[Verdict]:
        """Queue the rows of a request; the future resolves when they are durable.

        Once queued they are committed even if nobody waits any more. The future raises what voided the commit.
        """
        if self._loop is None or self._closed:
            raise HeadwaterError("overloaded", "the service is stopping", retry_after_seconds=1)
        submission.done = self._loop.create_future()
        self._gathered.append(submission)
        self._gathered_rows += submission.received
        if len(self._gathered) == 1 or self._gathered_rows >= INLINE_BELOW_ROWS:
            # Waking the encoder for every request would make two threads fight for the interpreter: once a turn does.
            self._loop.call_soon(self._hand_over)
        return submission.done

    def _hand_over(self) -> None:
        """Send off what was gathered; a few rows wait for the round on its way, which calls again when it ends."""
        if self._gathered_rows >= INLINE_BELOW_ROWS or self._with_encoder:
            self._to_encoder()
        elif self._gathered and self._ahead.acquire(blocking=False):
            _Round(self._encode(self._take_gathered()), self._commit, self._round_ended)

    def _to_encoder(self) -> None:
        if self._gathered:
            submissions = self._take_gathered()
            with self._with_encoder_lock:
                self._with_encoder += len(submissions)
            self._queue.put(submissions)

    def _take_gathered(self) -> list[Submission]:
        submissions, self._gathered, self._gathered_rows = self._gathered, [], 0
        return submissions

    def _round_ended(self) -> None:
        self._ahead.release()
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop was closed: the service has stopped and nothing is gathered
            self._loop.call_soon_threadsafe(self._hand_over)

    def _run(self) -> None:
        waiting: list[Submission] = []
        open_ = True
        while open_ or waiting:
            open_ = self._take(waiting) and open_
            if not waiting:
                continue
            # Few rows are encoded faster than the disk answers: they gather until it does. Many are encoded meanwhile.
            is_small = sum(submission.received for submission in waiting) < OVERLAP_FROM_ROWS
            if is_small:
                self._ahead.acquire()
                open_ = self._take(waiting) and open_
            round_ = _cut(waiting)
            segments = self._encode(round_)
            if not is_small:
                self._ahead.acquire()
            with self._with_encoder_lock:
                self._with_encoder -= len(round_)
            _Round(segments, self._commit, self._round_ended)
        # The last rounds are still on their way to the disk.
        for _ in range(ROUNDS_AHEAD):
            self._ahead.acquire()

    def _take(self, waiting: list[Submission]) -> bool:
        """Add all that was handed over to ``waiting``, which is then not empty; False once the end was seen."""
        while True:
            try:
                batch = self._queue.get(block=not waiting)
            except Empty:
                return True
            if batch is None:
                return False
            waiting.extend(batch)

    def _encode(self, submissions: Sequence[Submission]) -> list[Segment]:
        began = time.perf_counter()
        groups: dict[int, list[Submission]] = {}
        for submission in submissions:
            groups.setdefault(id(submission.version), []).append(submission)
        segments = [segment for group in groups.values() for segment in self._segments(group)]
        metrics.ENCODE_SECONDS.observe(time.perf_counter() - began)
        metrics.GROUP_ROWS.observe(sum(submission.received for submission in submissions))
        return segments

    def _segments(self, group: Sequence[Submission]) -> list[Segment]:
        """Return the segments of a group: one, or none for a submission that cannot be encoded."""
        try:
            return [make_segment(group)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live on and the others must not suffer
            if len(group) > 1:
                return [segment for submission in group for segment in self._segments([submission])]
            _log.exception("ingest_encoding_failed", request_id=group[0].origin.request_id)
            self._resolve([(group[0], error)])
            return []

    def _commit(self, segment: Segment, finished: Callable[[], None]) -> None:
        """Hand a segment to the group commit; ``finished`` is called once its future is resolved."""
        began = time.perf_counter()

        def done(future: Future[None]) -> None:
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
            try:
                self._settle(segment, future.exception())
            finally:
                finished()

        try:
            future = self._committer.submit(segment)
        except Exception as error:  # noqa: BLE001 - the thread must live on, and those who wait must hear of it
            self._settle(segment, error)
            finished()
        else:
            future.add_done_callback(done)

    def _settle(self, segment: Segment, error: BaseException | None) -> None:
        submissions = [part.submission for part in segment.parts]
        if error is None:
            self._resolve(list(zip(submissions, segment.verdicts, strict=True)))
        elif isinstance(error, IdempotencyConflict) and len(submissions) > 1:
            # Another process took one of these keys: each must stand for itself now.
            for submission in submissions:
                for alone in self._segments([submission]):
                    self._commit(alone, _nothing)
        else:
            self._resolve([(submission, error) for submission in submissions])

    def _resolve(self, outcomes: Sequence[tuple[Submission, Outcome]]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_set_all, outcomes)


class _Round:
    """The segments that were encoded together; lets the next round go when all of them are durable or void."""

    def __init__(
        self,
        segments: Sequence[Segment],
        commit: Callable[[Segment, Callable[[], None]], None],
        finished: Callable[[], None],
    ) -> None:
        self._open = len(segments)
        self._lock = Lock()
        self._finished = finished
        if not segments:
            finished()
        for segment in segments:
            commit(segment, self._one_done)

    def _one_done(self) -> None:
        with self._lock:
            self._open -= 1
            last = self._open == 0
        if last:
            self._finished()


def make_segment(submissions: Sequence[Submission]) -> Segment:
    """Return the segment of submissions to one dataset under one contract version. Many rows take a while."""
    batches = [submission.batch for submission in submissions if submission.batch is not None]
    received = [submission.origin.received_at_us for submission in submissions]
    columns = submissions[0].version.validator.columnise(batches, received)
    return Segment(submissions, columns)


def _set_all(outcomes: Sequence[tuple[Submission, Outcome]]) -> None:
    """Resolve futures in the event loop."""
    for submission, outcome in outcomes:
        # The verdict names its submission: without this cut they would wait for the garbage collector, rows and all.
        future, submission.done = submission.done, None
        if future is None or future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _cut(waiting: list[Submission]) -> list[Submission]:
    """Take the next round off ``waiting``: at least one submission, at most about ``MAX_GROUP_ROWS`` rows."""
    rows = 0
    for count, submission in enumerate(waiting):
        rows += submission.received
        if rows > MAX_GROUP_ROWS and count:
            break
    else:
        count = len(waiting)
    round_ = waiting[:count]
    del waiting[:count]
    return round_


def _nothing() -> None:
    """Nobody waits for this one's turn."""
