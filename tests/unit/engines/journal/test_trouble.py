"""What the journal does when the disk is full, slow or broken: it says so, stores nothing, and goes on afterwards."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest
from tests.builders.journal import STREAM, ids_of, make_block

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import JournalSettings
from headwater.engines.journal import checkpoint, room, schema
from headwater.engines.journal.protocol import Seal
from headwater.engines.journal.sqlite import SqliteJournal


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "j.db", JournalSettings(min_free_bytes=0))
    yield journal
    journal.close()


def append(journal: SqliteJournal, n: int, *, padding: int = 0) -> None:
    block = make_block([n])
    block = type(block)(block.stream, block.payload + b"\x00" * padding, 1, block.spans)
    journal.write(lambda tx: tx.append(block))


def waiting(journal: SqliteJournal) -> list[int]:
    return ids_of(journal.read(STREAM, max_rows=1_000, max_bytes=1 << 30))


class TestFullDisk:
    def test_a_write_that_finds_no_room_stores_nothing_and_the_next_may_go_on(self, journal: SqliteJournal) -> None:
        append(journal, 1)
        assert journal._writer is not None
        pages = journal._writer.pragma("page_count")
        journal._writer.pragma("max_page_count", pages)
        with pytest.raises(HeadwaterError) as caught:
            append(journal, 2, padding=1 << 20)
        assert caught.value.code == "storage_exhausted"
        assert caught.value.retry_after_seconds
        assert waiting(journal) == [1]
        journal._writer.pragma("max_page_count", pages + 1_000)
        append(journal, 3, padding=1 << 20)
        assert waiting(journal) == [1, 3]

    def test_below_the_free_limit_writes_are_refused_and_sealing_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = SqliteJournal(tmp_path / "j.db", JournalSettings(min_free_bytes=1_000))
        monkeypatch.setattr(room, "_LOOK_EVERY_SECONDS", 0.0)
        append(journal, 1)
        monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage(0, 0, 999))
        with pytest.raises(HeadwaterError) as caught:
            append(journal, 2)
        assert caught.value.code == "storage_exhausted"
        (block,) = journal.read(STREAM, max_rows=1, max_bytes=1)
        journal.seal(Seal(STREAM, block.id, 1, 1, 1))
        monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage(0, 0, 1_000))
        append(journal, 3)
        assert waiting(journal) == [3]
        journal.close()


def test_a_journal_whose_folder_is_gone_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    journal = SqliteJournal(tmp_path / "mount" / "j.db", JournalSettings(min_free_bytes=0))
    shutil.rmtree(tmp_path / "mount")
    with pytest.raises(HeadwaterError) as caught:
        append(journal, 1)
    assert caught.value.code == "journal_unavailable"
    journal.close()


def test_what_a_change_raises_is_not_taken_for_the_journals(journal: SqliteJournal) -> None:
    def change(_tx: object) -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        journal.write(change)


class TestBacklog:
    def test_too_much_unsealed_is_an_overload_until_it_is_sealed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "_LOOK_EVERY_SECONDS", 0.0)
        journal = SqliteJournal(tmp_path / "j.db", JournalSettings(min_free_bytes=0, max_unsealed_bytes=1 << 20))
        append(journal, 1, padding=1 << 20)
        with pytest.raises(HeadwaterError) as caught:
            append(journal, 2)
        assert caught.value.code == "overloaded"
        assert waiting(journal) == [1]
        journal.seal(Seal(STREAM, journal.backlogs()[0].last_block, 1, 1, 1))
        append(journal, 3)
        journal.close()

    def test_what_this_process_writes_counts_before_the_next_look(self, tmp_path: Path) -> None:
        journal = SqliteJournal(tmp_path / "j.db", JournalSettings(min_free_bytes=0, max_unsealed_bytes=1 << 20))
        for n in range(4):
            append(journal, n, padding=1 << 18)
        with pytest.raises(HeadwaterError, match="wait to be moved"):
            append(journal, 9)
        journal.close()


class TestOtherProcesses:
    def test_a_lock_that_is_never_released_is_reported(
        self, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)
        other = apsw.Connection(str(journal.path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HeadwaterError) as caught:
            append(journal, 1)
        assert caught.value.code == "journal_unavailable"
        assert waiting(journal) == [], "reading waits for nobody"
        other.execute("COMMIT")
        other.close()
        append(journal, 2)
        assert waiting(journal) == [2]

    def test_a_connection_that_cannot_roll_back_is_replaced(self, journal: SqliteJournal) -> None:
        append(journal, 1)
        broken = journal._writer
        assert broken is not None

        def change(_tx: object) -> None:
            broken.close(force=True)
            raise KeyError("in the middle")

        with pytest.raises(KeyError):
            journal.write(change)
        append(journal, 2)
        assert waiting(journal) == [1, 2]


class TestCheckpoint:
    def test_the_log_stays_small_while_writing_never_pauses(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checkpoint, "_AFTER_PAGES", 64)
        journal = SqliteJournal(tmp_path / "j.db", JournalSettings(min_free_bytes=0))
        for n in range(150):
            append(journal, n, padding=100_000)
        log = (tmp_path / "j.db-wal").stat().st_size
        assert log < 8 << 20, "15 MB were written"
        assert waiting(journal) == list(range(150))
        journal.close()

    def test_a_long_read_holds_up_neither_commits_nor_the_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checkpoint, "_AFTER_PAGES", 8)
        journal = SqliteJournal(tmp_path / "j.db", JournalSettings(min_free_bytes=0))
        append(journal, 1)
        with journal._reading() as connection:
            connection.execute("BEGIN")
            assert connection.execute("SELECT count(*) FROM blocks").get == 1
            started = time.monotonic()
            for n in range(2, 20):
                append(journal, n, padding=100_000)
            assert time.monotonic() - started < schema.BUSY_SECONDS / 2
            assert connection.execute("SELECT count(*) FROM blocks").get == 1
            connection.execute("COMMIT")
        assert len(waiting(journal)) == 19
        journal.close()

    def test_closing_ends_every_thread(self, tmp_path: Path) -> None:
        before = threading.active_count()
        journal = SqliteJournal(tmp_path / "j.db")
        journal.close()
        assert threading.active_count() == before
