"""What keeps the online states of views going, in a thread of its own so that sealing never waits for it.

Rows come straight from the sealer. Whatever does not (too much at once, a crash, a store that was away) is told by the
notes in the store and read from the lake.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableStore
from headwater.engines.online import open_online
from headwater.engines.online.protocol import OnlineStore
from headwater.jobs.online.configuration import Configuration

if TYPE_CHECKING:
    from headwater.jobs.online.feeder import Feeder

_POLL_SECONDS: Final = 0.5
_CHECK_SECONDS: Final = 30.0  # all views are compared with the lake at least this often
_SWEEP_SECONDS: Final = 600.0
_QUEUE_BYTES: Final = 64 << 20
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0

logger = get_logger(__name__)


class _Stopped(Exception):
    """The thread is to end; a build under way goes on the next time."""


@dataclass(slots=True)
class _Trouble:
    error: str
    pause_seconds: float
    try_at: float


class OnlineKeeper:
    """Feeds every online view of the home's environments. Trouble with one does not hold up the others."""

    def __init__(self, journal: Journal, lake: TableStore, settings: Settings) -> None:
        """Prepare; ``start`` begins."""
        self._journal = journal
        self._lake = lake
        self._settings = settings
        self._configuration = Configuration(Home(settings.home))
        self._queue: queue.SimpleQueue[tuple[str, pa.Table] | None] = queue.SimpleQueue()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._behind: set[tuple[str, str]] = set()
        self._troubles: dict[tuple[str, str], _Trouble] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._store: OnlineStore | None = None
        self._feeder: Feeder | None = None
        self._check_at = 0.0
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="online", daemon=True)
        self._thread.start()

    def offer(self, stream: str, rows: pa.Table) -> None:
        """Hand over rows that were just sealed; when too many wait, they are read from the lake instead."""
        if self._thread is None:
            return
        with self._lock:
            if self._queued_bytes + rows.nbytes > _QUEUE_BYTES:
                self._check_at = 0.0
                return
            self._queued_bytes += rows.nbytes
        self._queue.put((stream, rows))

    def close(self) -> None:
        """Take in what was handed over, and stop."""
        if self._thread is not None:
            self._stop.set()
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def errors(self) -> list[dict[str, str]]:
        """Return what is wrong with which view."""
        return [
            {"stream": f"feature view {name}", "error": t.error} for (_e, name), t in sorted(self._troubles.items())
        ]

    def _run(self) -> None:
        try:
            while True:
                try:
                    item = self._queue.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    self._look_around()
                    continue
                if item is None:
                    return
                self._take(*item)
                self._look_around()
        finally:
            if self._feeder is not None:
                self._feeder.close()
            if self._store is not None:
                self._store.close()

    def _take(self, stream: str, rows: pa.Table) -> None:
        with self._lock:
            self._queued_bytes -= rows.nbytes
        self._configuration.refresh()
        for view in self._configuration.streams().get(stream, ()):
            if view not in self._troubles:
                self._try(view, rows)

    def _look_around(self) -> None:
        """Bring up views that are new or behind, and compare all with the lake from time to time."""
        changed, now = self._configuration.refresh(), time.monotonic()
        if not changed and now < self._check_at and not self._due(now):
            return
        views = [view for found in self._configuration.streams().values() for view in found]
        self._troubles = {view: trouble for view, trouble in self._troubles.items() if view in views}
        everything = changed or now >= self._check_at
        self._check_at = now + _CHECK_SECONDS if everything else self._check_at
        for view in views if everything else self._due(now):
            trouble = self._troubles.get(view)
            if trouble is None or now >= trouble.try_at:
                self._try(view, None)
        if self._store is not None and now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            self._store.sweep(time.time_ns() // 1_000)

    def _due(self, now: float) -> list[tuple[str, str]]:
        return [view for view, trouble in self._troubles.items() if now >= trouble.try_at]

    def _try(self, view: tuple[str, str], rows: pa.Table | None) -> None:
        environment_id, name = view
        try:
            feeder = self._open()
            target = feeder.target(self._configuration.snapshots[environment_id], name)
            if rows is None:
                feeder.bring_up(target, self._report)
            else:
                feeder.append(target, rows)
        except _Stopped:
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong with this view, the others go on
            self._note(view, error)
            return
        if self._troubles.pop(view, None):
            logger.info("online.view.recovered", view=name, environment=environment_id)

    def _open(self) -> Feeder:
        if self._feeder is None:
            # It brings DuckDB along, which only a home with feature views should pay for.
            from headwater.jobs.online.feeder import Feeder  # noqa: PLC0415

            self._store = self._store or open_online(self._settings)
            self._feeder = Feeder(self._store, self._journal, self._lake, self._settings)
        return self._feeder

    def _report(self, done: int, parts: int) -> None:
        logger.debug("online.view.building", done=done, parts=parts)
        if self._stop.is_set() and done < parts:
            raise _Stopped

    def _note(self, view: tuple[str, str], error: Exception) -> None:
        before = self._troubles.get(view)
        pause = _FIRST_PAUSE_SECONDS if before is None else min(2 * before.pause_seconds, _LONGEST_PAUSE_SECONDS)
        text = f"{error.code}: {error}" if isinstance(error, HeadwaterError) else f"{type(error).__name__}: {error}"
        self._troubles[view] = _Trouble(text, pause, time.monotonic() + pause)
        known = isinstance(error, HeadwaterError) or type(error).__module__ == "_duckdb"
        logger.error("online.view.failed", view=view[1], error=text, retry_seconds=pause, exc_info=not known)
