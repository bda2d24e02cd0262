"""A model looks at every row of a dataset version: read, checked, run and made durable chunk by chunk.

Each chunk is one journal transaction that holds its predictions and the record that they are there. A job that is
killed at any moment resumes behind the last chunk it noted; a chunk that was written and not noted is found by its
record. So every row has exactly one prediction, and its id is the same in every attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from headwater.contracts.rows import FieldError
from headwater.contracts.spec import contract_from_spec
from headwater.core.errors import HeadwaterError
from headwater.core.jobs import BatchScore
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.blobs import open_blobs
from headwater.engines.journal.protocol import Journal
from headwater.engines.queue.protocol import Job, Progress
from headwater.jobs.batch.features import FeatureJoin, column_of
from headwater.jobs.batch.inputs import InputReader
from headwater.jobs.batch.output import (
    ChunkCommit,
    Encoder,
    Written,
    chunk_key,
    output_stream,
    read_content,
    receipt_id,
)
from headwater.jobs.batch.scorer import Scorer, describe
from headwater.jobs.batch.source import SEQ, Chunk, Place, RowFilter, Source

PATIENCE_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 0.5
_JOURNAL_SHARE: Final = 0.25  # of what may wait for the sealer: the rest is for those who ingest
_MAY_PASS: Final = frozenset({"overloaded", "storage_exhausted", "journal_unavailable"})
_SHOWN_ERRORS: Final = 5

_log = get_logger(__name__)


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
        contract = contract_from_spec(task.version.inputs)
        self._fields = contract.fields
        columns = {**task.columns, **{need.field: column_of(need) for need in task.features}}
        self._reader = InputReader(contract, columns, task.redact, [need.field for need in task.features])
        self._encoder = Encoder(self._job_id, task, contract.fields)
        self._filter = RowFilter(task.rows)

    async def run(self) -> None:
        scorer: Scorer | None = None
        join = FeatureJoin(self._task, self._settings) if self._task.features else None
        try:
            chunks = Source(self._task, join).chunks(self._start)
            # In a thread: what runs the model is watched meanwhile, however long the features of many rows take.
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                self._hold.beat()
                written = self._find(chunk)
                if written is None:
                    scorer = scorer or await self._load()
                    written = await self._do(chunk, scorer)
                self._tally.add(chunk.rows.num_rows, written)
                self._hold.note(self._tally.progress(chunk.next_place))
        finally:
            self._filter.close()
            if join is not None:
                join.close()
            if scorer is not None:
                await asyncio.to_thread(scorer.close)

    async def _load(self) -> Scorer:
        task = self._task
        artifact = None
        if task.version.framework != "remote":
            artifact = open_blobs(self._settings).path(task.version.artifact_sha256)
        return await asyncio.to_thread(
            Scorer,
            task.version,
            artifact,
            self._fields,
            settings=self._settings.inference,
            max_rows=task.max_batch_rows,
        )

    def _find(self, chunk: Chunk) -> Written | None:
        """Return what an earlier attempt wrote of a chunk."""
        key = chunk_key(self._job_id, chunk.place)
        known = self._journal.find_keys(self._stream, [key]).get(key)
        return None if known is None else read_content(known)

    async def _do(self, chunk: Chunk, scorer: Scorer) -> Written:
        """Score a chunk and make it durable."""
        rows = self._filter.choose(chunk.rows)
        inputs = self._reader.read(rows, scorer.limits)
        is_lenient = self._task.on_error == "null"
        if inputs.faults and not is_lenient:
            raise self._bad_row(rows, inputs.faults)
        scored = await self._score(scorer, rows, inputs, is_lenient=is_lenient)
        errors: dict[int, Sequence[FieldError]] = dict(inputs.faults)
        errors |= {int(inputs.rows[at]): describe(error) for at, error in scored.failures.items()}
        now_us = time.time_ns() // 1_000
        key = chunk_key(self._job_id, chunk.place)
        commit = ChunkCommit(
            stream=self._stream,
            key=key,
            batch=self._encoder.encode(rows, inputs, scored, errors, now_us),
            content=Written(len(scored.rows), len(errors)),
            version=self._task.version.number,
            config_version=self._task.config_version,
            receipt_id=receipt_id(key),
            now_us=now_us,
        )
        return await self._write(commit)

    async def _score(self, scorer: Scorer, rows: Any, inputs: Any, *, is_lenient: bool) -> Any:
        try:
            return await scorer.score(inputs, by_row=is_lenient, beat=self._hold.beat)
        except HeadwaterError as error:
            if error.code != "model_failed":
                raise
            seqs = rows[SEQ].to_pylist()
            raise HeadwaterError(
                error.code,
                f"rows {seqs[0]} to {seqs[-1]} (_hw_seq) of {self._task.dataset}: {error.detail}",
                hint=error.hint or "with on_error null, rows that the model fails for are written without outputs",
            ) from error

    async def _write(self, commit: ChunkCommit) -> Written:
        """Write a chunk as soon as there is room: for a while, a full journal or disk is waited for."""
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

    def _bad_row(self, rows: Any, faults: Mapping[int, Sequence[FieldError]]) -> HeadwaterError:
        """Return the error for the first bad row, naming row, input and column."""
        row = min(faults)
        seq, first = rows[SEQ][row].as_py(), faults[row][0]
        name = first.path.split("/")[1] if first.path else ""
        column = self._task.columns.get(name)
        place = f", input {name!r}" + (f" from column {column!r}" if column and column != name else "") if name else ""
        return HeadwaterError(
            "input_invalid",
            f"row {seq} (_hw_seq) of {self._task.dataset}{place}: {first.message}",
            hint="leave such rows out with where, or have them written without outputs with on_error null",
            extra={
                "source_seq": seq,
                "column": column,
                "errors": [asdict(error) for error in faults[row][:_SHOWN_ERRORS]],
            },
        )
