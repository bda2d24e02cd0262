"""What keeps the lake and the journal small, in a thread of its own so that sealing never waits for it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from headwater.core.clock import Clock, epoch_micros
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableStore

_PRUNE_EVERY_SECONDS: Final = 600.0
_RECEIPT_RETENTION: Final = timedelta(days=7)

logger = get_logger(__name__)


class Upkeep:
    """Maintains tables that were just appended to and prunes the journal every few minutes."""

    def __init__(self, journal: Journal, lake: TableStore, settings: Settings, clock: Clock) -> None:
        """Start the thread."""
        self._journal = journal
        self._lake = lake
        self._idempotency_retention = timedelta(hours=settings.ingest.idempotency_retention_hours)
        self._clock = clock
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._waiting: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def request(self, stream: str) -> None:
        """Have a table looked after; asking again while it waits changes nothing."""
        if stream not in self._waiting:
            self._waiting.add(stream)
            self._queue.put(stream)

    def close(self) -> None:
        """Finish the table under way and stop."""
        self._queue.put(None)
        self._thread.join()

    def prune(self) -> None:
        """Forget idempotency records and receipts that have outlived their promise."""
        now = self._clock.now()
        self._journal.prune(
            idempotency_before_us=epoch_micros(now - self._idempotency_retention),
            receipts_before_us=epoch_micros(now - _RECEIPT_RETENTION),
            keys_before_us={},
        )

    def _run(self) -> None:
        prune_at = time.monotonic() + _PRUNE_EVERY_SECONDS
        while True:
            try:
                stream = self._queue.get(timeout=max(0.0, prune_at - time.monotonic()))
            except queue.Empty:
                prune_at = time.monotonic() + _PRUNE_EVERY_SECONDS
                self._try("journal", self.prune)
                continue
            if stream is None:
                return
            self._waiting.discard(stream)
            self._try(stream, partial(self._maintain, stream))

    def _maintain(self, stream: str) -> None:
        done = self._lake.maintain(stream)
        if done.compacted or done.vacuumed:
            logger.info("sealer.table.compacted", stream=stream, compacted=done.compacted, vacuumed=done.vacuumed)

    def _try(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - upkeep is asked for again; sealing goes on without it
            logger.warning("sealer.upkeep.failed", stream=what, error=f"{type(error).__name__}: {error}")
