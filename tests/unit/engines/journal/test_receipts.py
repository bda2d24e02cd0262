"""Receipts in packs: found again, newest first, gone when old, and taken over from rows of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from headwater.core.ids import new_ids
from headwater.core.setting_sections import JournalSettings
from headwater.engines.journal import receipts
from headwater.engines.journal.protocol import Counts, Receipt
from headwater.engines.journal.sqlite import SqliteJournal

FORMAT_1 = """
DROP TABLE receipts;
CREATE TABLE receipts (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, stream_id INTEGER NOT NULL, principal_id TEXT NOT NULL,
    received_at_us INTEGER NOT NULL, config_version INTEGER NOT NULL, received INTEGER NOT NULL,
    accepted INTEGER NOT NULL, duplicate INTEGER NOT NULL, stale INTEGER NOT NULL, quarantined INTEGER NOT NULL,
    rejected INTEGER NOT NULL, first_seq INTEGER, last_seq INTEGER, errors BLOB NOT NULL
);
CREATE INDEX receipts_of_stream ON receipts (stream_id, received_at_us);
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    opened = SqliteJournal(path, JournalSettings(min_free_bytes=0))
    yield opened
    opened.close()


def receipt(receipt_id: str, at_us: int = 1, stream: str = "e/a", **changes: object) -> Receipt:
    given = {"counts": Counts(2, accepted=1, rejected=1), "first_seq": 1, "last_seq": 1, "errors": b"\x00{}"} | changes
    return Receipt(receipt_id, stream, "svc_1", at_us, 3, **given)  # type: ignore[arg-type]


def packs(path: Path) -> int:
    connection = apsw.Connection(str(path))
    count: int = connection.execute("SELECT count(*) FROM receipts").get
    connection.close()
    return count


def put(journal: SqliteJournal, *made: Receipt) -> None:
    journal.write(lambda transaction: transaction.put_receipts(made))


def test_receipts_of_one_transaction_share_a_row_and_each_is_found(journal: SqliteJournal, path: Path) -> None:
    made = [
        receipt(made_id, at, "e/b" if at % 3 == 0 else "e/a", errors=b"x" * at)
        for at, made_id in enumerate(new_ids("rcp", 300))
    ]
    put(journal, *made)
    assert packs(path) == 2
    assert [journal.find_receipt(one.id) for one in made] == made
    assert journal.find_receipt(made[0].id[:-1] + "!") is None
    assert journal.find_receipt(made[0].id[:8]) is None
    assert journal.find_receipt("") is None


def test_a_pack_has_its_bounds(journal: SqliteJournal, path: Path) -> None:
    count = receipts._MAX_IN_PACK + 1
    ids = new_ids("rcp", count)
    put(journal, *map(receipt, ids))
    assert packs(path) == 2
    assert journal.find_receipt(ids[-1]) == receipt(ids[-1])
    put(journal, receipt("rcp_01KAV8Z40000"), receipt("rcp_01KAV8Z50000"))
    assert packs(path) == 4


def test_the_newest_come_first_across_packs(journal: SqliteJournal) -> None:
    ids = new_ids("rcp", 30)
    for begin in range(0, 30, 10):
        put(journal, *(receipt(ids[at], at) for at in range(begin, begin + 10)), receipt(f"q{begin}", 99, "e/b"))
    assert [one.received_at_us for one in journal.recent_receipts("e/a", limit=15)] == list(range(29, 14, -1))
    assert len(journal.recent_receipts("e/a", limit=100)) == 30
    assert journal.recent_receipts("e/none", limit=1) == []


def test_old_packs_go_page_by_page_and_young_ones_stay(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "_PRUNE_ROWS", 3)
    ids = new_ids("rcp", 40)
    for at in range(0, 40, 2):
        put(journal, receipt(ids[at], at), receipt(ids[at + 1], at + 1), receipt(ids[at] + "b", at, "e/b"))
    journal.prune(idempotency_before_us=0, receipts_before_us=21, keys_before_us={})
    # A pack stays as long as one of its receipts may be asked for.
    assert [journal.find_receipt(one) is not None for one in ids] == [False] * 20 + [True] * 20
    assert journal.find_receipt(ids[18] + "b") is None
    assert journal.find_receipt(ids[22] + "b") is not None
    assert packs(path) == 10 + 9
    assert journal.totals("e/a").received == 80


def test_a_journal_that_kept_a_row_of_each_is_taken_over(journal: SqliteJournal, path: Path) -> None:
    put(journal, receipt("rcp_a"), receipt("rcp_b", stream="e/b"))
    uuid = journal.uuid
    journal.close()
    made = [
        receipt(made_id, at, ("e/a", "e/b")[at % 2], first_seq=None, errors=b"e" * at)
        for at, made_id in enumerate(new_ids("rcp", 500))
    ]
    connection = apsw.Connection(str(path))
    connection.execute(FORMAT_1)
    rows = [
        (one.id, 1 + at % 2, "svc_1", at, 3, 2, 1, 0, 0, 0, 1, one.first_seq, one.last_seq, one.errors)
        for at, one in enumerate(made)
    ]
    connection.executemany(
        f"INSERT INTO receipts VALUES (NULL, {', '.join('?' * 14)})",
        rows,
    )
    connection.close()
    for _ in range(2):
        opened = SqliteJournal(path, JournalSettings(min_free_bytes=0))
        assert opened.uuid == uuid
        assert [opened.find_receipt(one.id) for one in made] == made
        assert [one.id for one in opened.recent_receipts("e/b", limit=2)] == [made[499].id, made[497].id]
        opened.close()
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 2
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'receipts%'").get == 1
    connection.close()
