"""Which journals are opened, and what is said about those that are not."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import JournalSettings
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.sqlite import SqliteJournal


def opened(path: Path) -> SqliteJournal:
    return SqliteJournal(path, JournalSettings(min_free_bytes=0))


def test_without_a_url_it_lies_in_the_home(tmp_path: Path) -> None:
    open_journal(Settings(home=tmp_path)).close()
    assert (tmp_path / "journal" / "journal.sqlite3").is_file()


def test_a_url_names_another_place(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "j.db"
    open_journal(Settings(home=tmp_path, journal=JournalSettings(url=f"sqlite:///{path}"))).close()
    assert path.is_file()


def test_a_kind_that_nothing_serves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadwaterError, match="nats://x") as caught:
        open_journal(Settings(home=tmp_path, journal=JournalSettings(url="nats://x")))
    assert caught.value.code == "setting_invalid"
    assert caught.value.hint


def test_it_is_synced_at_every_commit_and_kept_in_large_pages(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j.db")
    with journal._transaction() as connection:
        assert connection.pragma("synchronous") == 2
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("page_size") == 8_192
    journal.close()


@pytest.mark.parametrize(("version", "hint"), [(3, "newer"), (0, "run the Headwater")])
def test_another_format_is_named_and_left_alone(tmp_path: Path, version: int, hint: str) -> None:
    path = tmp_path / "j.db"
    opened(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(HeadwaterError, match=f"has format {version}") as caught:
        opened(path)
    assert caught.value.code == "home_version"
    assert hint in (caught.value.hint or "")
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(HeadwaterError, match="not a Headwater journal"):
        opened(path)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(b"nonsense" * 1_000)
    with pytest.raises(HeadwaterError) as caught:
        opened(path)
    assert caught.value.code == "journal_unavailable"


def test_a_folder_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadwaterError) as caught:
        opened(tmp_path / "file" / "j.db")
    assert caught.value.code == "journal_unavailable"


def test_a_sqlite_with_the_corruption_bug_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "SQLITE_VERSION_NUMBER", 3_051_002)
    with pytest.raises(HeadwaterError, match=r"needs 3\.51\.3"):
        opened(tmp_path / "j.db")
