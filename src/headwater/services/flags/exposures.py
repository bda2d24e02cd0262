"""Who saw which variant, as rows of a dataset: off the hot path, the first of an hour counting alone.

A request only appends to a ring in memory, which drops and counts when it is full. A task drains it: what this process
saw already this hour is left out at once, and the keys in the journal decide for all processes, in the transaction
that writes the rows.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import pyarrow as pa
from prometheus_client.registry import Collector

from headwater.core.errors import HeadwaterError
from headwater.core.flags import FlagSpec, Outcome
from headwater.core.ids import new_id
from headwater.core.logging import get_logger
from headwater.core.streams import EXPOSURES, stream_name
from headwater.engines.flags.exposures import EXPOSURE_SCHEMA
from headwater.engines.journal.protocol import Block, Counts, JournalTransaction, Receipt, Span
from headwater.services.kit.draining import Drain
from headwater.services.kit.metrics import Tally
from headwater.services.kit.service import Caller, Committer

INTERVAL_SECONDS: Final = 0.5
MAX_WAITING: Final = 50_000
DRAIN_ROWS: Final = 4_096
_MAX_SEEN: Final = 200_000
_HOUR_US: Final = 3_600_000_000
_STOP_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0
_CONTRACT_VERSION: Final = "1.0.0"
PRINCIPAL: Final = "headwater:flags"

_log = get_logger(__name__)


class Exposure(NamedTuple):
    """Somebody saw a variant. ``rule`` counts from 1."""

    flag: str
    variant: str
    targeting_key: str
    reason: str | None
    rule: int | None
    revision: int
    at_us: int
    principal_id: str

    @classmethod
    def of(cls, outcome: Outcome, spec: FlagSpec, key: bytes | None, at_us: int, principal_id: str) -> Exposure:
        """Return the exposure to an answer; one without a targeting key has an empty one."""
        targeting_key = "" if key is None else key.decode("utf-8", "replace")
        rule = None if outcome.rule is None else outcome.rule + 1
        return cls(
            spec.key, outcome.variant or "", targeting_key, outcome.reason.value, rule, spec.revision, at_us,
            principal_id,
        )  # fmt: skip

    @property
    def digest(self) -> bytes:
        """Return what two exposures of the same hour that count once have in common."""
        text = f"{self.at_us // _HOUR_US}\n{self.flag}\n{self.variant}\n{self.targeting_key}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass(slots=True)
class ExposureCommit:
    """A ``Commit``: the exposures that nobody has written yet, with a receipt of all.

    After it, ``written`` says how many of each flag were new.
    """

    stream: str
    exposures: Sequence[Exposure]
    config_version: int
    at_us: int
    receipt_id: str
    principal_id: str = PRINCIPAL
    written: Counter[str] = field(default_factory=Counter)

    def apply(self, transaction: JournalTransaction) -> None:
        """Write what is new, and the receipt."""
        distinct = {exposure.digest: exposure for exposure in reversed(self.exposures)}
        known = transaction.find_keys(self.stream, list(distinct))
        fresh = {digest: exposure for digest, exposure in reversed(distinct.items()) if digest not in known}
        self.written = Counter(exposure.flag for exposure in fresh.values())
        first = transaction.append(self._block(list(fresh.values()))) if fresh else None
        if fresh:
            transaction.put_keys(self.stream, dict.fromkeys(fresh, b"\x00" * 16), self.at_us)
        received = len(self.exposures)
        receipt = Receipt(
            id=self.receipt_id,
            stream=self.stream,
            principal_id=self.principal_id,
            received_at_us=self.at_us,
            config_version=self.config_version,
            counts=Counts(received, accepted=len(fresh), duplicate=received - len(fresh)),
            first_seq=first,
            last_seq=None if first is None else first + len(fresh) - 1,
        )
        transaction.put_receipts([receipt])

    def _block(self, exposures: Sequence[Exposure]) -> Block:
        columns = [list(column) for column in zip(*exposures, strict=True)]
        arrays = [
            pa.array(column, pa.int64()).cast(field.type) if pa.types.is_timestamp(field.type)
            else pa.array(column, field.type)
            for column, field in zip(columns, EXPOSURE_SCHEMA, strict=True)
        ]  # fmt: skip
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, EXPOSURE_SCHEMA) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=EXPOSURE_SCHEMA))
        span = Span(self.receipt_id, len(exposures), self.at_us, _CONTRACT_VERSION)
        return Block(self.stream, sink.getvalue().to_pybytes(), len(exposures), (span,))


class ExposureLog:
    """The exposures of a process on their way to the journal. ``add`` is called on the event loop."""

    def __init__(self, committer: Committer, *, max_waiting: int = MAX_WAITING) -> None:
        """Write through ``committer``; keep at most ``max_waiting`` in memory."""
        self._committer = committer
        self._max_waiting = max_waiting
        self._ring: deque[tuple[str, int, Exposure]] = deque()
        self._draining = 0
        self._seen: set[bytes] = set()
        self._hour = 0
        self._drain = Drain(self._write_waiting, every_seconds=INTERVAL_SECONDS, name="flag-exposures")
        self.problem: str | None = None
        self.outcomes = Tally(
            "headwater_flags_exposures",
            "Exposures by what became of them: written, duplicate, dropped (no room), anonymous (no targeting key).",
            ("flag", "outcome"),
        )

    def add(self, caller: Caller, exposure: Exposure) -> None:
        """Take an exposure, or count why not."""
        if not exposure.targeting_key:
            self.outcomes.add((exposure.flag, "anonymous"))
        elif len(self._ring) + self._draining >= self._max_waiting:
            self.outcomes.add((exposure.flag, "dropped"))
        else:
            self._ring.append((caller.environment.id, caller.environment.snapshot.number, exposure))
            if len(self._ring) >= DRAIN_ROWS:
                self._drain.wake()

    def collectors(self) -> Sequence[Collector]:
        """Return the log's metrics."""
        return (self.outcomes,)

    def start(self) -> None:
        """Begin to drain."""
        self._drain.start()

    async def stop(self) -> None:
        """Make durable what is in the ring; what cannot be within some seconds is counted as dropped."""
        await self._drain.stop()

    async def _write_waiting(self) -> None:
        entries, self._ring = self._ring, deque()
        self._draining = len(entries)
        groups: dict[str, tuple[int, list[Exposure]]] = {}
        for environment_id, number, exposure in entries:
            if self._is_new(environment_id, exposure):
                groups.setdefault(environment_id, (number, []))[1].append(exposure)
            else:
                self.outcomes.add((exposure.flag, "duplicate"))
        for environment_id, (number, exposures) in groups.items():
            await self._write(environment_id, number, exposures)
        self._draining = 0

    def _is_new(self, environment_id: str, exposure: Exposure) -> bool:
        hour = exposure.at_us // _HOUR_US
        if hour != self._hour or len(self._seen) >= _MAX_SEEN:
            self._seen.clear()
            self._hour = hour
        mark = environment_id.encode() + exposure.digest
        if mark in self._seen:
            return False
        self._seen.add(mark)
        return True

    async def _write(self, environment_id: str, number: int, exposures: list[Exposure]) -> None:
        """Make exposures durable, trying again while the journal cannot take them; a refused block was not stored."""
        at_us = time.time_ns() // 1_000
        stream = stream_name(environment_id, EXPOSURES)
        commit = ExposureCommit(stream, exposures, number, at_us, new_id("rcp"))
        gives_up_at: float | None = None
        while True:
            try:
                await asyncio.wrap_future(self._committer.submit(commit))
            except HeadwaterError as error:
                self.problem = f"exposures to flags wait: {error.detail}"
                _log.warning("flag_exposures_wait", rows=len(exposures), error=error.detail)
            except Exception:  # noqa: BLE001 - the log must outlive a block it cannot write
                _log.exception("flag_exposures_not_written", rows=len(exposures))
                break
            else:
                self.problem = None
                self._tell(exposures, commit.written)
                return
            if self._drain.is_stopping:
                gives_up_at = gives_up_at or time.monotonic() + _STOP_SECONDS
                if time.monotonic() > gives_up_at:
                    break
            await asyncio.sleep(_RETRY_SECONDS)
        for exposure in exposures:
            self.outcomes.add((exposure.flag, "dropped"))

    def _tell(self, exposures: Sequence[Exposure], written: Counter[str]) -> None:
        """Count what was written, and what others had written before."""
        for flag, count in Counter(exposure.flag for exposure in exposures).items():
            self.outcomes.add((flag, "written"), written[flag])
            if count > written[flag]:
                self.outcomes.add((flag, "duplicate"), count - written[flag])
