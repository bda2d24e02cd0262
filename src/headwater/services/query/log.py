"""Every answer of a query as a row of the dataset ``query_log``, off the hot path.

An answer only leaves a note in memory; notes alike (the same question of the same key, answered from a cache) become
one with a count. A task writes them every half a second through the journal's group commit. When the notes are too
many, or the journal cannot take them, they are dropped and counted: no answer ever waits for its note.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.core.logging import get_logger
from headwater.core.snapshot import KeySpec, ParameterSpec
from headwater.core.streams import QUERY_LOG, stream_name
from headwater.engines.journal.protocol import Block, Counts, JournalTransaction, Receipt, Span
from headwater.engines.query.log_schema import QUERY_LOG_SCHEMA
from headwater.engines.query.parameters import to_plain
from headwater.services.kit.draining import Drain
from headwater.services.kit.metrics import Tally
from headwater.services.kit.service import Committer, Environment

INTERVAL_SECONDS: Final = 0.5
MAX_WAITING: Final = 50_000
PRINCIPAL: Final = "headwater:query"
_STOP_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0
_CONTRACT_VERSION: Final = "1.0.0"
_NOBODY: Final = KeySpec(
    id="", prefix="", principal_id=PRINCIPAL, principal_label="live results", allowances=frozenset()
)
_CACHED: Final = frozenset({"not_modified", "memory"})

_log = get_logger(__name__)


@dataclass(slots=True)
class Answer:
    """What became of a question. Times in seconds; ``digest`` stands for question and answer, or for ad-hoc SQL."""

    kind: str
    name: str | None
    digest: bytes = b""
    revision: int | None = None
    values: Mapping[str, Any] | None = None
    parameters: Mapping[str, ParameterSpec] | None = None
    policy: str | None = None
    source: str | None = None
    status: int = 200
    code: str | None = None
    rows: int | None = None
    bytes_out: int = 0
    bytes_scanned: int = 0
    queue_seconds: float = 0.0
    query_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(slots=True)
class _Note:
    """Answers alike: the first of them, when, to whom, and how many they are."""

    environment_id: str
    config: int
    key: KeySpec
    answer: Answer
    at_us: int
    count: int = 1


class QueryLog:
    """The log of a process. ``add`` is called on the event loop."""

    def __init__(
        self, committer: Committer, *, is_on: bool = True, shows_values: bool = False, max_waiting: int = MAX_WAITING
    ) -> None:
        """Write through ``committer``; keep at most ``max_waiting`` notes in memory."""
        self._committer = committer
        self._is_on = is_on
        self._shows_values = shows_values
        self._max_waiting = max_waiting
        self._notes: list[_Note] = []
        self._alike: dict[tuple[str, str, bytes, str | None], _Note] = {}
        self._draining = 0
        self._drain = Drain(self._write_waiting, every_seconds=INTERVAL_SECONDS, name="query-log")
        self.problem: str | None = None
        self.answers = Tally(
            "headwater_query_log_answers", "Answers by what became of their note: written, dropped.", ("outcome",)
        )

    def add_shared(self, environment: Environment | None, answer: Answer) -> None:
        """Note an answer that is for nobody in particular."""
        if environment is not None:
            self.add(environment, _NOBODY, answer)

    def add(self, environment: Environment, key: KeySpec, answer: Answer) -> None:
        """Note an answer to ``key``, or count it as dropped."""
        environment_id = environment.id
        if not self._is_on or QUERY_LOG in environment.snapshot.datasets:
            return  # an older project may have a dataset of its own by that name
        place = None
        if answer.source in _CACHED:
            place = (environment_id, key.id, answer.digest, answer.source)
            known = self._alike.get(place)
            if known is not None:
                known.count += 1
                known.answer.total_seconds += answer.total_seconds
                return
        if len(self._notes) + self._draining >= self._max_waiting:
            self.answers.add(("dropped",))
            return
        note = _Note(environment_id, environment.snapshot.number, key, answer, time.time_ns() // 1_000)
        self._notes.append(note)
        if place is not None:
            self._alike[place] = note
        self._drain.start()

    def start(self) -> None:
        """Begin to write."""
        self._drain.start()

    async def stop(self) -> None:
        """Make durable what was noted; what cannot be within some seconds is counted as dropped."""
        await self._drain.stop()

    async def _write_waiting(self) -> None:
        notes, self._notes = self._notes, []
        self._alike.clear()
        self._draining = len(notes)
        groups: dict[str, list[_Note]] = {}
        for note in notes:
            groups.setdefault(note.environment_id, []).append(note)
        for environment_id, group in groups.items():
            is_written = await self._write(environment_id, group)
            count = sum(note.count for note in group)
            self.answers.add(("written" if is_written else "dropped",), count)
        self._draining = 0

    async def _write(self, environment_id: str, notes: Sequence[_Note]) -> bool:
        """Make notes durable, trying again while the journal cannot take them; a refused block was not stored."""
        try:
            commit = await asyncio.to_thread(_encode, environment_id, notes, shows_values=self._shows_values)
        except Exception:  # noqa: BLE001 - the log must outlive a block it cannot write
            _log.exception("query_log_not_encoded", rows=len(notes))
            return False
        gives_up_at: float | None = None
        while True:
            try:
                await asyncio.wrap_future(self._committer.submit(commit))
            except HeadwaterError as error:
                self.problem = f"the query log waits: {error.detail}"
                _log.warning("query_log_waits", rows=len(notes), error=error.detail)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("query_log_not_written", rows=len(notes))
                return False
            else:
                self.problem = None
                return True
            if self._drain.is_stopping:
                gives_up_at = gives_up_at or time.monotonic() + _STOP_SECONDS
                if time.monotonic() > gives_up_at:
                    return False
            await asyncio.sleep(_RETRY_SECONDS)


@dataclass(frozen=True, slots=True)
class LogCommit:
    """A ``Commit``: a block of the log and its receipt."""

    block: Block
    receipt: Receipt

    def apply(self, transaction: JournalTransaction) -> None:
        """Write both."""
        transaction.append(self.block)
        transaction.put_receipts([self.receipt])


def _encode(environment_id: str, notes: Sequence[_Note], *, shows_values: bool) -> LogCommit:
    rows = [_row(note, shows_values=shows_values) for note in notes]
    columns = list(zip(*rows, strict=True))
    arrays = [
        pa.array(column, pa.int64()).cast(field.type) if pa.types.is_timestamp(field.type)
        else pa.array(column, field.type)
        for column, field in zip(columns, QUERY_LOG_SCHEMA, strict=True)
    ]  # fmt: skip
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, QUERY_LOG_SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=QUERY_LOG_SCHEMA))
    stream, receipt_id, at_us = stream_name(environment_id, QUERY_LOG), new_id("rcp"), time.time_ns() // 1_000
    span = Span(receipt_id, len(rows), at_us, _CONTRACT_VERSION)
    receipt = Receipt(
        id=receipt_id,
        stream=stream,
        principal_id=PRINCIPAL,
        received_at_us=at_us,
        config_version=max(note.config for note in notes),
        counts=Counts(len(rows), accepted=len(rows)),
    )
    return LogCommit(Block(stream, sink.getvalue().to_pybytes(), len(rows), (span,)), receipt)


def _row(note: _Note, *, shows_values: bool) -> tuple[Any, ...]:
    key, answer = note.key, note.answer
    return (
        answer.kind, answer.name, answer.revision, key.principal_id, key.principal_label, key.id,
        describe_parameters(answer, shows_values=shows_values), answer.policy, answer.source, answer.status,
        answer.code, note.count, answer.rows, answer.bytes_out, answer.bytes_scanned,
        answer.queue_seconds * 1e3, answer.query_seconds * 1e3, answer.total_seconds / note.count * 1e3, note.at_us,
    )  # fmt: skip


def describe_parameters(answer: Answer, *, shows_values: bool) -> str | None:
    """Return parameters as they may be logged.

    As values only numbers, dates and what the endpoint itself enumerates are shown: any other text may be a name or an
    address, and its digest has to do.
    """
    if answer.values is None or not answer.values:
        return answer.digest.hex() if answer.digest and answer.kind == "sql" else None
    plain = {name: to_plain(value) for name, value in answer.values.items()}
    if not shows_values:
        return _digest(plain)
    declared = answer.parameters or {}
    shown = {
        name: value if _is_harmless(declared.get(name), value) else _digest(value) for name, value in plain.items()
    }
    return orjson.dumps(shown, default=str).decode()


def _is_harmless(spec: ParameterSpec | None, value: Any) -> bool:
    if value is None or spec is None:
        return value is None
    return spec.type != "string" or bool(spec.values)


def _digest(value: Any) -> str:
    return hashlib.blake2b(orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
