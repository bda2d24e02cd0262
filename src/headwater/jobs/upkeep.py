"""What keeps the lake and the journal small, in a thread of its own so that sealing never waits for it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from headwater.core.clock import Clock, epoch_micros
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import Expiry, TableStore
from headwater.engines.query.log_schema import QUERY_KINDS
from headwater.jobs.retention import Retention, read_retentions

_PRUNE_EVERY_SECONDS: Final = 600.0
_LEDGER_MINUTES_KEPT: Final = timedelta(days=30)
_RECEIPT_RETENTION: Final = timedelta(days=7)

logger = get_logger(__name__)


class Upkeep:
    """Maintains tables that were just appended to and prunes the journal every few minutes."""

    def __init__(self, journal: Journal, lake: TableStore, settings: Settings, clock: Clock) -> None:
        """Start the thread."""
        self._journal = journal
        self._lake = lake
        self._home = Home(settings.home)
        self._idempotency_retention = timedelta(hours=settings.ingest.idempotency_retention_hours)
        self._query_log_kept = timedelta(days=settings.query.log_retention_days)
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
        """Forget what has outlived its promise: refused rows, row keys, idempotency records, receipts."""
        now = self._clock.now()
        keys_before: dict[str, datetime] = {}
        for retention in read_retentions(self._home):
            keys_before |= _instants_before(now, retention.keys)
            self._try(retention.quarantine_stream, partial(self._expire, retention, now, keys_before))
            if retention.query_log_stream is not None:
                self._try(retention.query_log_stream, partial(self._expire_queries, retention.query_log_stream, now))
        self._journal.prune(
            idempotency_before_us=epoch_micros(now - self._idempotency_retention),
            receipts_before_us=epoch_micros(now - _RECEIPT_RETENTION),
            keys_before_us={stream: epoch_micros(before) for stream, before in keys_before.items()},
        )
        self._journal.fold_ledger(before_minute=epoch_micros(now - _LEDGER_MINUTES_KEPT) // 60_000_000)

    def _expire(self, retention: Retention, now: datetime, keys_before: dict[str, datetime]) -> None:
        """Delete the refused rows of an environment that are too old, then the verdicts on them."""
        stream, kept = retention.quarantine_stream, retention.quarantine
        before = _instants_before(now, kept)
        gone = self._lake.expire(stream, Expiry("dataset_id", "received_at", before))
        if gone:
            logger.info("sealer.quarantine.expired", stream=stream, rows=gone)
        elif before and len(before) == len(kept):
            # A verdict is as old as its row or younger. Without it a row that is still there would be open again.
            keys_before[stream] = min(before.values())

    def _expire_queries(self, stream: str, now: datetime) -> None:
        """Delete the notes of answers that are too old."""
        before = dict.fromkeys(QUERY_KINDS, now - self._query_log_kept)
        gone = self._lake.expire(stream, Expiry("kind", "answered_at", before))
        if gone:
            logger.info("sealer.query_log.expired", stream=stream, rows=gone)

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


def _instants_before(now: datetime, periods: Mapping[str, timedelta | None]) -> dict[str, datetime]:
    """Return by name the instant that lies a period back; without one, or with one of ages, there is none."""
    oldest = now - datetime.min.replace(tzinfo=UTC)
    return {name: now - period for name, period in periods.items() if period is not None and period < oldest}
