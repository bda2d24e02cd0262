"""The right to seal, and the work beside sealing."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from tests.builders.journal import STREAM, make_receipt, make_record

from headwater.core.clock import FrozenClock, epoch_micros
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import AppTransaction, TableStore
from headwater.jobs import lease as module
from headwater.jobs.lease import try_lease, wait_for_lease
from headwater.jobs.upkeep import Upkeep

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def test_a_lease_has_one_holder_at_a_time(tmp_path: Path) -> None:
    lease = try_lease(tmp_path / "lock")
    assert lease is not None
    assert try_lease(tmp_path / "lock") is None
    lease.close()
    again = try_lease(tmp_path / "lock")
    assert again is not None
    again.close()


def test_whoever_waits_gets_the_lease_once_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRY_EVERY_SECONDS", 0.01)
    lease = try_lease(tmp_path / "lock")
    assert lease is not None
    threading.Timer(0.05, lease.close).start()
    waited = wait_for_lease(tmp_path / "lock", threading.Event())
    assert waited is not None
    waited.close()


def test_waiting_ends_when_it_is_told_to(tmp_path: Path) -> None:
    lease = try_lease(tmp_path / "lock")
    assert lease is not None
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    assert wait_for_lease(tmp_path / "lock", stop) is None
    lease.close()


def test_what_outlived_its_promise_is_pruned(journal: Journal, lake: TableStore, settings: Settings) -> None:
    def ago(**age: float) -> int:
        return epoch_micros(NOW - timedelta(**age))

    records = [make_record("old", created_at_us=ago(hours=25)), make_record("new", created_at_us=ago(hours=23))]
    receipts = [
        make_receipt("older", received_at_us=ago(days=32, minutes=3)),
        make_receipt("oldest", received_at_us=ago(days=32, minutes=4)),
    ]
    journal.write(lambda tx: tx.put_receipts(receipts))
    receipts = [make_receipt("old", received_at_us=ago(days=8)), make_receipt("new", received_at_us=ago(days=6))]
    journal.write(lambda tx: tx.put_idempotency(records))
    journal.write(lambda tx: tx.put_receipts(receipts))
    upkeep = Upkeep(journal, lake, settings, FrozenClock(NOW))
    upkeep.prune()
    upkeep.close()
    assert [journal.find_idempotency(record.scope) for record in records] == [None, records[1]]
    assert [journal.find_receipt(receipt.id) for receipt in receipts] == [None, receipts[1]]
    assert [row.counts.received for row in journal.ledger(since_minute=0)] == [2, 1, 1]


def test_tables_are_looked_after_and_trouble_does_not_end_it(
    journal: Journal, lake: TableStore, settings: Settings
) -> None:
    for n in range(1, 13):
        lake.append(STREAM, pa.table({"id": [n]}), AppTransaction("a", n))
    upkeep = Upkeep(journal, lake, settings, FrozenClock(NOW))
    upkeep.request("not a stream")
    upkeep.request(STREAM)
    deadline = time.monotonic() + 10
    while len(lake.state(STREAM).files) > 1:  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    upkeep.close()
