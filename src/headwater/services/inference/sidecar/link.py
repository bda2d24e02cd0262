"""The worker's end: an ``Observer`` that ships what it is told to a sidecar and keeps it until that says it is durable.

Telling costs a list append; every few milliseconds what was told is packed into a frame and handed to the kernel
without waiting. A sidecar that dies is started again and gets whatever it had not acknowledged. What waits is bounded:
beyond that, predictions are counted as dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
from prometheus_client.registry import Collector

from headwater.core.ids import new_id
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.services.inference.gathering import Descriptions, gather
from headwater.services.inference.observations import Entry, Failure
from headwater.services.inference.sidecar.child import Child
from headwater.services.inference.sidecar.wire import Ack, Failed, Frame, Hello, pack
from headwater.services.kit.metrics import Tally
from headwater.services.kit.service import Environment

SHIP_SECONDS: Final = 0.005
SHIP_ENTRIES: Final = 256
EPOCH_SECONDS: Final = 0.25
EPOCH_ROWS: Final = 4_096
MAX_WAITING_ROWS: Final = 100_000
MAX_WAITING_BYTES: Final = 128 << 20
STOP_SECONDS: Final = 10.0
_MAX_FAILURES: Final = 10_000
_ATTEMPTS: Final = 3

_log = get_logger(__name__)


@dataclass(slots=True)
class _Epoch:
    """What is to be acknowledged as a whole: its frames, and its rows by model."""

    number: int
    frames: list[bytearray] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    described: list[msgspec.Raw] = field(default_factory=list)
    total: int = 0
    size: int = 0
    deaths: int = 0


class SidecarLog:
    """The prediction log and monitoring of a worker, by its sidecar. Used from one event loop."""

    def __init__(
        self,
        settings: Settings,
        environments: Callable[[], Mapping[str, Environment]],
        *,
        max_waiting_rows: int = MAX_WAITING_ROWS,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        """Start nothing yet."""
        self._writer = new_id("wrk")
        self._max_waiting_rows = max_waiting_rows
        self._max_waiting_bytes = max_waiting_bytes
        self._child = Child(settings, connected=self._connected, heard=self._heard)
        self._descriptions = Descriptions(environments)
        self._entries: list[Entry] = []
        self._failures: list[Failure] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due: asyncio.TimerHandle | None = None
        self._epochs: deque[_Epoch] = deque()
        self._open: _Epoch | None = None
        self._number = 0
        self._rows = 0
        self._bytes = 0
        self._drained = asyncio.Event()
        self._problem: str | None = None
        self.logged = Tally("headwater_inference_logged_rows", "Predictions made durable.", ("model",))
        self.dropped = Tally("headwater_inference_log_dropped_rows", "Predictions that were not logged.", ("model",))
        self.resent = Tally(
            "headwater_inference_log_resent_rows", "Predictions sent again after a sidecar died.", ("model",)
        )

    @property
    def is_full(self) -> bool:
        """Return whether an entry given now would be dropped."""
        return self._rows >= self._max_waiting_rows or self._bytes >= self._max_waiting_bytes

    @property
    def problem(self) -> str | None:
        """Return what keeps the log or the profiles from being written, None while nothing does."""
        return self._child.problem or self._problem

    @property
    def pid(self) -> int | None:
        """Return the sidecar's process id while it runs."""
        return self._child.pid

    def add(self, entry: Entry) -> None:
        """Take an answered request, or drop and count it."""
        rows = len(entry.ids)
        if self._rows + rows > self._max_waiting_rows or self._bytes >= self._max_waiting_bytes:
            self.dropped.add((entry.version.model,), rows)
            return
        self._rows += rows
        self._entries.append(entry)
        if len(self._entries) >= SHIP_ENTRIES:
            self._ship()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SHIP_SECONDS, self._ship)

    def failed(self, failure: Failure) -> None:
        """Take a request that failed."""
        if len(self._failures) < _MAX_FAILURES and not self.is_full:
            self._failures.append(failure)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(SHIP_SECONDS, self._ship)

    def collectors(self) -> Sequence[Collector]:
        """Return the log's metrics."""
        return self.logged, self.dropped, self.resent, self._child.restarts

    def start(self) -> None:
        """Start the sidecar, and again whenever it dies."""
        self._child.start()

    async def stop(self) -> None:
        """Have everything made durable, then end the sidecar; what is not within some seconds counts as dropped."""
        self._ship(closes=True)
        if self._epochs:
            self._drained.clear()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._drained.wait()
            except TimeoutError:
                _log.error("prediction_log_lost", rows=self._rows)
        await self._child.stop()
        for epoch in self._epochs:
            self._drop(epoch)
        self._epochs.clear()

    def _ship(self, *, closes: bool = False) -> None:
        """Pack what was told into a frame, and send it as far as the socket takes it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._open is None and not self._entries and not self._failures:
            return
        epoch = self._open or self._begin()
        entries, failures = self._entries, self._failures
        self._entries, self._failures = [], []
        rows = sum([len(entry.ids) for entry in entries])
        closes = closes or epoch.total + rows >= EPOCH_ROWS
        try:
            frame = pack(self._frame(epoch, entries, failures, closes=closes))
        except Exception:  # noqa: BLE001 - what cannot be packed must not cost the request that comes next
            _log.exception("prediction_log_not_packed", rows=rows)
            closes = True  # versions it would have introduced are unknown to the sidecar
            frame = pack(Frame(epoch.number, closes, [], [], []))
            self._forget(entries)
        else:
            epoch.total += rows
            for entry in entries:
                model = entry.version.model
                epoch.rows[model] = epoch.rows.get(model, 0) + len(entry.ids)
        epoch.frames.append(frame)
        epoch.size += len(frame)
        self._bytes += len(frame)
        if closes:
            self._close()
        self._child.send([frame])

    def _begin(self) -> _Epoch:
        """Begin an epoch, which closes by itself when its time has come."""
        self._number += 1
        epoch = self._open = _Epoch(self._number)
        self._epochs.append(epoch)
        self._due = asyncio.get_running_loop().call_later(EPOCH_SECONDS, partial(self._ship, closes=True))
        return epoch

    def _close(self) -> None:
        self._open = None
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _frame(self, epoch: _Epoch, entries: Sequence[Entry], failures: Sequence[Failure], *, closes: bool) -> Frame:
        """Return a frame of what was told, by version, describing those that are new in the epoch."""
        frame = Frame(epoch.number, closes, [], [], [])
        groups: dict[tuple[int, int], list[Entry]] = {}
        for entry in entries:
            groups.setdefault((id(entry.version), id(entry.caller.environment)), []).append(entry)
        for group in groups.values():
            raw = self._descriptions.of(group[0].version, group[0].caller.environment)
            frame.groups.append(gather(group, self._place(epoch, frame, raw)))
        failed: dict[tuple[int, str], list[Failure]] = {}
        for failure in failures:
            failed.setdefault((id(failure.version), failure.code), []).append(failure)
        for found in failed.values():
            last = found[-1]
            known = self._descriptions.find(last.version)
            if known is not None:
                place = self._place(epoch, frame, known)
                frame.failures.append(Failed(place, last.code, last.failed_at_us, len(found)))
        return frame

    def _place(self, epoch: _Epoch, frame: Frame, raw: msgspec.Raw) -> int:
        """Return what the epoch calls a version, introducing it where it is new."""
        place = epoch.versions.get(id(raw))
        if place is None:
            place = epoch.versions[id(raw)] = len(epoch.versions)
            epoch.described.append(raw)
            frame.versions.append(raw)
        return place

    def _forget(self, entries: Sequence[Entry]) -> None:
        """Count what was told and cannot be shipped as dropped."""
        for entry in entries:
            self.dropped.add((entry.version.model,), len(entry.ids))
            self._rows -= len(entry.ids)

    def _connected(self) -> None:
        """Give a new sidecar all that was not acknowledged by the one before."""
        hello = Hello(self._writer, self._number if self._child.starts > 1 else 0)
        if self._epochs and self._child.had_spoken:
            oldest = self._epochs[0]
            oldest.deaths += 1
            if oldest.deaths > _ATTEMPTS:
                _log.error("prediction_log_lost", rows=oldest.total, reason="it ended several sidecars")
                self._drop(self._epochs.popleft())
        frames = [frame for epoch in self._epochs for frame in epoch.frames]
        if self._child.starts > 1:
            for epoch in self._epochs:
                for model, rows in epoch.rows.items():
                    self.resent.add((model,), rows)
        self._child.send([pack(hello), *frames])

    def _heard(self, ack: Ack) -> None:
        """Let go of what is durable."""
        self._problem = ack.problem
        for counts, tally in ((ack.logged, self.logged), (ack.dropped, self.dropped)):
            for model, rows in counts.items():
                tally.add((model,), rows)
        while self._epochs and self._epochs[0].number <= ack.epoch:
            self._release(self._epochs.popleft())
        if not self._epochs:
            self._drained.set()

    def _drop(self, epoch: _Epoch) -> None:
        for model, rows in epoch.rows.items():
            self.dropped.add((model,), rows)
        self._release(epoch)

    def _release(self, epoch: _Epoch) -> None:
        self._rows -= epoch.total
        self._bytes -= epoch.size
        if epoch is self._open:
            self._close()
