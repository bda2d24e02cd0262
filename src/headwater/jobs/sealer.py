"""The sealer: moves rows from the journal into the lake within about a second of their acknowledgement."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from headwater.core.clock import Clock, SystemClock, epoch_micros
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import configure_logging, get_logger
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Backlog, Journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore
from headwater.jobs.lease import wait_for_lease
from headwater.jobs.online.keeper import OnlineKeeper
from headwater.jobs.seal import seal_segment
from headwater.jobs.upkeep import Upkeep

_POLL_SECONDS: Final = 0.1
_HEARTBEAT_SECONDS: Final = 1.0
_DUE_SHARE: Final = 0.5  # of the seal interval; the other half is for polling, committing and streams before this one
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0

logger = get_logger(__name__)


@dataclass(slots=True)
class _Trouble:
    """A stream that could not be sealed: what was wrong and when to try again."""

    error: str
    at: str
    pause_seconds: float
    try_at: float


class Sealer:
    """Seals every stream of a journal in turn. Trouble with one stream does not hold up the others."""

    def __init__(self, journal: Journal, lake: TableStore, settings: Settings, *, clock: Clock | None = None) -> None:
        """Serve one journal and one lake; the caller holds the lease."""
        self._journal = journal
        self._lake = lake
        self._limits = settings.lake
        self._clock = clock or SystemClock()
        self._heartbeat_file = Home(settings.home).run / "sealer.json"
        self._heartbeat_at = 0.0
        self._troubles: dict[str, _Trouble] = {}
        self._upkeep = Upkeep(journal, lake, settings, self._clock)
        self._online = OnlineKeeper(journal, lake, settings)

    def run(self, stop: threading.Event) -> None:
        """Seal until ``stop`` is set, then seal once more whatever the journal holds at that moment."""
        self._online.start()
        try:
            while not stop.is_set():
                if not self.sweep():
                    stop.wait(_POLL_SECONDS)
            self.drain()
        finally:
            self._online.close()
            self._upkeep.close()
            self._beat(self._backlogs())

    def sweep(self) -> int:
        """Seal one segment of every stream that is due; return the rows moved."""
        backlogs = self._backlogs()
        self._beat_when_due(backlogs)
        moved = 0
        for backlog in backlogs:
            if self._is_due(backlog):
                moved += self._seal(backlog)
                self._beat_when_due(backlogs)
        return moved

    def drain(self) -> int:
        """Seal everything the journal holds now, due or not; return the rows moved."""
        moved = 0
        through = {backlog.stream: backlog.last_block for backlog in self._backlogs()}
        while through:
            backlogs = [b for b in self._backlogs() if b.first_block <= through.get(b.stream, -1)]
            self._beat_when_due(backlogs)
            rows = sum(self._seal(backlog) for backlog in backlogs)
            if not rows:
                break
            moved += rows
        return moved

    def _backlogs(self) -> list[Backlog]:
        """Return what waits; nothing while the journal cannot be read."""
        try:
            found = self._journal.backlogs()
        except HeadwaterError as error:
            self._note("journal", error)
            return []
        self._troubles.pop("journal", None)
        return found

    def _is_due(self, backlog: Backlog) -> bool:
        trouble = self._troubles.get(backlog.stream)
        if trouble is not None and time.monotonic() < trouble.try_at:
            return False
        if backlog.rows >= self._limits.segment_max_rows or backlog.payload_bytes >= self._limits.segment_max_bytes:
            return True
        # An oldest row from the future (the clock was set back) must not wait until then.
        return not 0 <= self._age_seconds(backlog) < self._limits.seal_interval_seconds * _DUE_SHARE

    def _seal(self, backlog: Backlog) -> int:
        started = time.perf_counter()
        try:
            sealed = seal_segment(self._journal, self._lake, backlog, limits=self._limits, clock=self._clock)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with this stream, the others go on
            self._note(backlog.stream, error)
            return 0
        if self._troubles.pop(backlog.stream, None):
            logger.info("sealer.stream.recovered", stream=backlog.stream)
        if sealed is None:
            return 0
        self._upkeep.request(backlog.stream)
        self._online.offer(sealed.stream, sealed.table)
        logger.debug(
            "sealer.segment.sealed",
            stream=sealed.stream,
            rows=sealed.rows,
            table_version=sealed.table_version,
            seconds=round(time.perf_counter() - started, 3),
        )
        return sealed.rows

    def _note(self, stream: str, error: Exception) -> None:
        """Remember and log trouble; each time in a row the pause doubles."""
        before = self._troubles.get(stream)
        pause = _FIRST_PAUSE_SECONDS if before is None else min(2 * before.pause_seconds, _LONGEST_PAUSE_SECONDS)
        text = f"{error.code}: {error}" if isinstance(error, HeadwaterError) else f"{type(error).__name__}: {error}"
        self._troubles[stream] = _Trouble(text, self._clock.now().isoformat(), pause, time.monotonic() + pause)
        known = isinstance(error, HeadwaterError)
        hint = error.hint if isinstance(error, HeadwaterError) else None
        logger.error(
            "sealer.stream.failed", stream=stream, error=text, hint=hint, retry_seconds=pause, exc_info=not known
        )

    def _age_seconds(self, backlog: Backlog) -> float:
        return (epoch_micros(self._clock.now()) - backlog.oldest_at_us) / 1e6

    def _beat_when_due(self, backlogs: list[Backlog]) -> None:
        if time.monotonic() >= self._heartbeat_at:
            self._beat(backlogs)

    def _beat(self, backlogs: list[Backlog]) -> None:
        """Tell readiness checks and the doctor how far behind the lake is."""
        self._heartbeat_at = time.monotonic() + _HEARTBEAT_SECONDS
        report: dict[str, Any] = {
            "pid": os.getpid(),
            "at": self._clock.now().isoformat(),
            "lag_seconds": round(max((self._age_seconds(b) for b in backlogs), default=0.0), 3),
            "streams": len(backlogs),
            "rows": sum(b.rows for b in backlogs),
            "errors": [{"stream": s, "error": t.error, "at": t.at} for s, t in sorted(self._troubles.items())],
            "online_errors": self._online.errors(),
        }
        temporary = self._heartbeat_file.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_text(json.dumps(report))
            temporary.replace(self._heartbeat_file)
        except OSError as error:
            logger.warning("sealer.heartbeat.failed", path=str(self._heartbeat_file), error=str(error))


def serve(settings: Settings) -> None:
    """Seal until SIGTERM or SIGINT; a segment under way is finished and a last pass made first.

    Raises:
        HeadwaterError: the home, the journal or the lake cannot be used.
    """
    configure_logging(settings.log, process="sealer")
    home = Home(settings.home)
    home.prepare()
    stop = threading.Event()
    with _stopping(stop):
        lease = wait_for_lease(home.run / "sealer.lock", stop)
        if lease is None:
            return
        journal = open_journal(settings)
        try:
            logger.info("sealer.started", journal=journal.uuid)
            Sealer(journal, open_lake(settings), settings).run(stop)
            logger.info("sealer.stopped")
        finally:
            journal.close()
            lease.close()


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGTERM and SIGINT for as long as this lasts."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
