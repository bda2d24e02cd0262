"""The prediction log of a process without a sidecar: every answer becomes a row, off the hot path.

A request only appends to a ring in memory. A task drains it every quarter of a second: rows of one version become one
Arrow block, encoded in a thread and made durable by the journal's group commit. A full ring drops and counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from prometheus_client.registry import Collector

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.core.logging import get_logger
from headwater.services.inference.encoding import LogBatch, LoggedVersion, encode_rows
from headwater.services.inference.gathering import describe, gather
from headwater.services.inference.observations import Entry, Failure, Observer
from headwater.services.inference.rows import Rows
from headwater.services.inference.sidecar.link import SidecarLog
from headwater.services.kit.draining import Drain
from headwater.services.kit.metrics import Tally
from headwater.services.kit.service import Committer, Runtime

INTERVAL_SECONDS: Final = 0.25
DRAIN_ROWS: Final = 4_096
MAX_WAITING_ROWS: Final = 100_000
_RETRY_FIRST_SECONDS: Final = 0.25
_RETRY_LIMIT_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 5.0

_log = get_logger(__name__)


class Log(Observer, Protocol):
    """An observer with a life of its own."""

    @property
    def problem(self) -> str | None:
        """Return what keeps it from its work, None while nothing does."""
        ...

    def collectors(self) -> Sequence[Collector]:
        """Return its metrics."""
        ...

    def start(self) -> None:
        """Begin; called on the event loop."""
        ...

    async def stop(self) -> None:
        """Make durable what it was told."""
        ...


def make_log(runtime: Runtime) -> Log:
    """Return what the settings ask for: a sidecar that logs and profiles, or a log in this process."""
    if runtime.settings.inference.sidecar:
        return SidecarLog(runtime.settings, lambda: runtime.environments)
    return PredictionLog(runtime.committer)


class PredictionLog:
    """The log of a process. ``add`` is called on the event loop."""

    def __init__(self, committer: Committer, *, max_waiting_rows: int = MAX_WAITING_ROWS) -> None:
        """Write through ``committer``; keep at most ``max_waiting_rows`` in memory."""
        self._committer = committer
        self._max_waiting_rows = max_waiting_rows
        self._ring: deque[Entry] = deque()
        self._ring_rows = 0
        self._drain = Drain(self._write_waiting, every_seconds=INTERVAL_SECONDS, name="prediction-log")
        self.problem: str | None = None
        self.logged = Tally("headwater_inference_logged_rows", "Predictions made durable.", ("model",))
        self.dropped = Tally("headwater_inference_log_dropped_rows", "Predictions that were not logged.", ("model",))

    @property
    def is_full(self) -> bool:
        """Return whether an entry given now would be dropped."""
        return self._ring_rows >= self._max_waiting_rows

    def add(self, entry: Entry) -> None:
        """Take an entry, or count it as dropped when the ring is full."""
        rows = len(entry.ids)
        if self._ring_rows + rows > self._max_waiting_rows:
            self.dropped.add((entry.version.model,), rows)
            return
        self._ring.append(entry)
        self._ring_rows += rows
        if self._ring_rows >= DRAIN_ROWS:
            self._drain.wake()

    def failed(self, failure: Failure) -> None:
        """Take a request that failed; the log has no place for it."""

    def collectors(self) -> Sequence[Collector]:
        """Return the log's metrics."""
        return self.logged, self.dropped

    def start(self) -> None:
        """Begin to drain."""
        self._drain.start()

    async def stop(self) -> None:
        """Make durable what is in the ring; what cannot be within some seconds is counted as dropped."""
        await self._drain.stop()

    async def _write_waiting(self) -> None:
        entries, self._ring = self._ring, deque()
        if not entries:
            return
        groups: dict[tuple[int, int], list[Entry]] = {}
        for entry in entries:
            groups.setdefault((id(entry.caller.environment), id(entry.version)), []).append(entry)
        for group in groups.values():
            await self._write(group)
        # Only now is there room again: the ring bounds what waits for the disk too.
        self._ring_rows -= sum(len(entry.ids) for entry in entries)

    async def _write(self, group: list[Entry]) -> None:
        """Make one block durable, trying again while the journal cannot take it; a refused block was not stored."""
        model = group[0].version.model
        rows = sum(len(entry.ids) for entry in group)
        try:
            batch = await asyncio.to_thread(_encode, group)
        except Exception:  # noqa: BLE001 - the log must outlive a block it cannot write
            _log.exception("prediction_log_not_encoded", model=model, rows=rows)
            self.dropped.add((model,), rows)
            return
        if batch is None:
            return
        if await self._commit(batch):
            self.logged.add((model,), batch.rows)
        else:
            self.dropped.add((model,), batch.rows)

    async def _commit(self, batch: LogBatch) -> bool:
        pause = _RETRY_FIRST_SECONDS
        gives_up_at: float | None = None
        while True:
            try:
                await asyncio.wrap_future(self._committer.submit(batch))
            except HeadwaterError as error:
                self.problem = f"the prediction log waits: {error.detail}"
                _log.warning("prediction_log_waits", rows=batch.rows, error=error.detail)
            except Exception:  # noqa: BLE001 - the log must outlive a block it cannot write
                _log.exception("prediction_log_not_written", rows=batch.rows)
                return False
            else:
                self.problem = None
                return True
            if self._drain.is_stopping:
                gives_up_at = gives_up_at or time.monotonic() + _STOP_SECONDS
                if time.monotonic() > gives_up_at:
                    return False
            await asyncio.sleep(pause if not self._drain.is_stopping else _RETRY_FIRST_SECONDS)
            pause = min(pause * 2, _RETRY_LIMIT_SECONDS)


def _encode(entries: Sequence[Entry]) -> LogBatch | None:
    """Return entries of one version as a block; None when its sample has none of them."""
    first = entries[0]
    version = LoggedVersion(describe(first.version, first.caller.environment))
    return encode_rows(version, Rows([gather(entries, 0)], len(version.fields)), new_id("rcp"))
