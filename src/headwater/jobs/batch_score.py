"""A model looks at every row of a dataset version: read, checked, run and made durable chunk by chunk.

Each chunk is one journal transaction that holds its predictions and the record that they are there. A job that is
killed at any moment resumes behind the last chunk it noted; a chunk that was written and not noted is found by its
record. So every row has exactly one prediction, and its id is the same in every attempt.

Several chunks may be scored at once, by whoever the settings say. They are written and noted in their order, so that
behind the last one noted there is nothing left to do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from headwater.core.errors import HeadwaterError
from headwater.core.jobs import BatchScore
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.queue.protocol import Job, Progress
from headwater.jobs.batch.executors import open_chunks
from headwater.jobs.batch.features import FeatureJoin
from headwater.jobs.batch.output import Answer, ChunkCommit, Written, chunk_key, output_stream, read_content, receipt_id
from headwater.jobs.batch.source import Chunk, Place, Source

PATIENCE_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 0.5
_JOURNAL_SHARE: Final = 0.25  # of what may wait for the sealer: the rest is for those who ingest
_MAY_PASS: Final = frozenset({"overloaded", "storage_exhausted", "journal_unavailable"})
_BEAT_SECONDS: Final = 1.0


class Hold(Protocol):
    """A worker's hold on its job. Both methods raise when it must stop: cancelled, lease lost, worker ending."""

    def beat(self) -> None:
        """Say that work goes on; cheap, so call it often."""
        ...

    def note(self, progress: Progress) -> None:
        """Note durably how far the job is."""
        ...


@dataclass(slots=True)
class _Tally:
    """How far a job is."""

    done: int
    scored: int
    failed: int
    skipped: int
    last_seq: int

    @classmethod
    def of(cls, progress: Progress) -> _Tally:
        counts = progress.counts
        scored, failed, skipped = (counts.get(name, 0) for name in ("scored", "failed", "skipped"))
        return cls(progress.done, scored, failed, skipped, progress.position.get("last_seq", 0))

    def add(self, rows: int, written: Written) -> None:
        self.done += rows
        self.scored += written.scored
        self.failed += written.failed
        self.skipped += rows - written.scored - written.failed
        self.last_seq = max(self.last_seq, written.last_seq)

    def progress(self, place: Place) -> Progress:
        counts = {"scored": self.scored, "failed": self.failed, "skipped": self.skipped}
        return Progress(self.done, counts, {**place.plain, "last_seq": self.last_seq})


def run(job: Job, hold: Hold, journal: Journal, settings: Settings) -> None:
    """Work on a job until it is done; resumes where its progress says.

    Raises:
        HeadwaterError: what keeps it from going on; with ``retry_after_seconds`` where trying again may help.
        Exception: what ``hold`` raised.
    """
    asyncio.run(_Scoring(job, hold, journal, settings).run())


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A chunk that is being scored, or that an earlier attempt has ``written``."""

    chunk: Chunk
    answer: asyncio.Task[Answer] | None
    written: Written | None


class _Scoring:
    """One attempt at a job."""

    def __init__(self, job: Job, hold: Hold, journal: Journal, settings: Settings) -> None:
        self._job_id = job.new.id
        self._task = task = BatchScore.model_validate_json(job.new.payload)
        self._hold = hold
        self._journal = journal
        self._settings = settings
        self._tally = _Tally.of(job.progress)
        self._start = Place.read(job.progress.position)
        self._stream = output_stream(task)
        self._executor = open_chunks(self._job_id, task, settings, hold.beat)

    async def run(self) -> None:
        join = FeatureJoin(self._task, self._settings) if self._task.features else None
        under_way: deque[_UnderWay] = deque()
        try:
            await self._work(Source(self._task, join).chunks(self._start), under_way)
        finally:
            await _cancel(under_way)
            if join is not None:
                join.close()
            await self._executor.close()

    async def _work(self, chunks: Iterator[Chunk], under_way: deque[_UnderWay]) -> None:
        """Have every chunk scored, as many at once as the executor wants, and settle them in their order."""
        # In a thread: what runs the model is watched meanwhile, however long the features of many rows take.
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            self._hold.beat()
            under_way.append(self._begin(chunk))
            while under_way and (under_way[0].answer is None or len(under_way) >= self._executor.at_once):
                await self._settle(under_way)
        while under_way:
            await self._settle(under_way)

    def _begin(self, chunk: Chunk) -> _UnderWay:
        """Have a chunk scored, unless an earlier attempt wrote it."""
        key = chunk_key(self._job_id, chunk.place)
        known = self._journal.find_keys(self._stream, [key]).get(key)
        if known is not None:
            return _UnderWay(chunk, None, read_content(known))
        return _UnderWay(chunk, asyncio.create_task(self._executor.score(chunk.rows)), None)

    async def _settle(self, under_way: deque[_UnderWay]) -> None:
        """Make the first chunk under way durable, and note that it is."""
        first = under_way[0]
        written = first.written
        if first.answer is not None:
            while not first.answer.done():
                await asyncio.wait({first.answer}, timeout=_BEAT_SECONDS)
                self._hold.beat()
            written = await self._write(first.chunk, first.answer.result())
        assert written is not None
        under_way.popleft()
        self._tally.add(first.chunk.rows.num_rows, written)
        self._hold.note(self._tally.progress(first.chunk.next_place))

    async def _write(self, chunk: Chunk, answer: Answer) -> Written:
        """Write a chunk as soon as there is room: for a while, a full journal or disk is waited for."""
        key = chunk_key(self._job_id, chunk.place)
        commit = ChunkCommit(
            stream=self._stream,
            key=key,
            answer=answer,
            version=self._task.version.number,
            config_version=self._task.config_version,
            receipt_id=receipt_id(key),
            now_us=time.time_ns() // 1_000,
        )
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        most = self._settings.journal.max_unsealed_bytes * _JOURNAL_SHARE
        while True:
            self._hold.beat()
            try:
                waiting = self._journal.unsealed_bytes()
                if waiting <= most:
                    return self._journal.write(commit.apply)
                trouble = HeadwaterError(
                    "overloaded",
                    f"{waiting} bytes wait to be moved into the lake, more than a job may add to",
                    hint="check that the sealer runs",
                    retry_after_seconds=5,
                )
            except HeadwaterError as error:
                if error.code not in _MAY_PASS:
                    raise
                trouble = error
            if time.monotonic() > gives_up_at:
                raise trouble
            await asyncio.sleep(_PAUSE_SECONDS)


async def _cancel(under_way: deque[_UnderWay]) -> None:
    """Have nobody work any more on chunks that nobody waits for."""
    tasks = [item.answer for item in under_way if item.answer is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
