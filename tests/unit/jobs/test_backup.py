"""A copy of a home whose journal is written to and whose lake is sealed, compacted and vacuumed meanwhile."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.builders.journal import STREAM, make_block

from headwater.core.errors import HeadwaterError
from headwater.core.home import AUDIT_FOLDER, Home
from headwater.core.setting_sections import JournalSettings, LakeSettings
from headwater.core.settings import Settings
from headwater.engines.blobs.local import LocalBlobs
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore
from headwater.jobs import backup as module
from headwater.jobs.backup import Backup, Said, Sources, make_backup, read_backup, restore
from headwater.jobs.sealer import Sealer


def silent(_what: str, _size: int) -> None:
    pass


def sources(home: Path) -> Sources:
    place = Home(home)
    return Sources(
        place, place.journal / "journal.sqlite3", place.lake, place.artifacts, control_database=place.control_database
    )


def settings_for(home: Path) -> Settings:
    return Settings(home=home, journal=JournalSettings(min_free_bytes=0), lake=LakeSettings(compact_every_commits=5))


def append(journal: Journal, *ids: int) -> None:
    for n in ids:
        journal.write(lambda tx, n=n: tx.append(make_block([n])))  # type: ignore[misc]


def seal_all(journal: Journal, lake: TableStore, settings: Settings) -> None:
    sealer = Sealer(journal, lake, settings)
    stop = threading.Event()
    stop.set()
    sealer.run(stop)


def stored(home: Path) -> list[int]:
    """Seal what is left in the journal of a home and return every id in its table, in the order of the rows."""
    settings = settings_for(home)
    journal, lake = open_journal(settings), open_lake(settings)
    try:
        seal_all(journal, lake, settings)
        assert json.loads((Home(home).run / "sealer.json").read_text())["errors"] == []
        state = lake.state(STREAM)
        rows = [row for file in state.files for row in pq.read_table(file).to_pylist()] if state else []
        rows.sort(key=lambda row: row["_hw_seq"])
        assert [row["_hw_seq"] for row in rows] == list(range(1, len(rows) + 1))
        return [row["id"] for row in rows]
    finally:
        journal.close()


def when(what: str, act: Callable[[], object]) -> Said:
    """Return somebody who acts once this was copied."""

    def said(part: str, _size: int) -> None:
        if part == what:
            act()

    return said


@pytest.mark.parametrize("sealed_before", [0, 3, 60])
def test_a_lake_that_runs_ahead_of_the_copied_journal_is_copied_as_it_was(
    settings: Settings, journal: Journal, lake: TableStore, tmp_path: Path, sealed_before: int
) -> None:
    for n in range(sealed_before):
        append(journal, n)
        seal_all(journal, lake, settings)
    append(journal, 1_000, 1_001)

    def run_ahead() -> None:
        for n in range(2_000, 2_030):
            append(journal, n)
            seal_all(journal, lake, settings)
            lake.maintain(STREAM)

    target = tmp_path.parent / f"{tmp_path.name}-copy"
    made = make_backup(sources(settings.home), target, when("journal", run_ahead))
    assert made.rows <= sealed_before + 2
    assert stored(target) == [*range(sealed_before), 1_000, 1_001]


def test_rows_that_were_sealed_but_not_yet_marked_are_there_once(
    settings: Settings, journal: Journal, lake: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "seal", lambda _seal: (_ for _ in ()).throw(KeyError("died")))
        seal_all(journal, lake, settings)
    append(journal, 3)
    make_backup(sources(settings.home), tmp_path / "copy", silent)
    assert stored(tmp_path / "copy") == [1, 2, 3]


def test_copies_made_while_everything_runs_hold_every_row_acknowledged_before_once(
    settings: Settings, journal: Journal, lake: TableStore, tmp_path: Path
) -> None:
    acknowledged = 0
    end = threading.Event()

    def produce() -> None:
        nonlocal acknowledged
        for n in count(1):
            if end.is_set():
                return
            append(journal, n)
            acknowledged = n

    sealer = Sealer(journal, lake, settings)
    threads = [threading.Thread(target=produce), threading.Thread(target=sealer.run, args=(end,))]
    for thread in threads:
        thread.start()
    made: list[tuple[int, Path]] = []
    try:
        for number in range(6):
            time.sleep(0.25)
            before, target = acknowledged, tmp_path / f"copy{number}"
            make_backup(sources(settings.home), target, silent)
            made.append((before, target))
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert made[-1][0] > made[0][0] > 0
    for before, target in made:
        ids = stored(target)
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) >= before
    assert read_backup(made[-1][1]).rows > 0


@pytest.fixture
def filled(settings: Settings, journal: Journal, lake: TableStore) -> Home:
    """A home with something of everything."""
    home = Home(settings.home)
    append(journal, 1, 2)
    seal_all(journal, lake, settings)
    append(journal, 3)
    for path in (home.django_secret, home.node_token, home.snapshot_private_key, home.snapshot_public_key):
        home.write_secret(path, b"secret")
    (home.run / "up.lock").write_text("1")
    (home.snapshots / "env_1").mkdir()
    (home.snapshots / "env_1" / "7.json").write_text("{}")
    with closing(sqlite3.connect(home.control_database)) as control:
        control.execute("CREATE TABLE orgs (n integer)")
        control.execute("INSERT INTO orgs VALUES (42)")
        control.commit()
    for folder in (home.online, home.monitoring, home.jobs):
        folder.mkdir(mode=0o700)
        with closing(sqlite3.connect(folder / "store.sqlite3")) as store:
            store.execute(f"CREATE TABLE {folder.name} (n integer)")
    LocalBlobs(home.artifacts).put(b"a model")
    (home.artifacts / ".incoming-x").write_bytes(b"half")
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_restored_home_has_everything_that_lasts_and_nothing_of_the_run(filled: Home, tmp_path: Path) -> None:
    made = make_backup(sources(filled.root), tmp_path / "copy", silent)
    assert (made.rows, made.has_control, set(made.tables)) == (2, True, {STREAM})
    home = Home(tmp_path / "new" / "home")
    assert restore(tmp_path / "copy", home, silent) == made

    assert stored(home.root) == [1, 2, 3]
    with closing(sqlite3.connect(home.control_database)) as control:
        assert control.execute("SELECT n FROM orgs").fetchone() == (42,)
    assert LocalBlobs(home.artifacts).read(hashlib.sha256(b"a model").hexdigest()) == b"a model"
    assert (home.snapshots / "env_1" / "7.json").exists()
    for folder in (home.online, home.monitoring, home.jobs):
        with closing(sqlite3.connect(folder / "store.sqlite3")) as store:
            assert store.execute("SELECT name FROM sqlite_schema").fetchall() == [(folder.name,)]
    for path in (home.django_secret, home.node_token, home.snapshot_private_key, home.control_database):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(home.root.stat().st_mode) == stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700
    assert not {"up.lock", "backup.json", ".incoming-x"} & {path.name for path in home.root.rglob("*")}


def test_a_backup_is_a_home_itself(filled: Home, tmp_path: Path) -> None:
    make_backup(sources(filled.root), tmp_path / "copy", silent)
    Home(tmp_path / "copy").prepare()
    assert stored(tmp_path / "copy") == [1, 2, 3]


def test_what_is_there_already_is_left_alone(filled: Home, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HeadwaterError, match="is there already"):
        make_backup(sources(filled.root), tmp_path / "taken", silent)
    make_backup(sources(filled.root), tmp_path / "empty", silent)
    before = contents(filled.root)
    with pytest.raises(HeadwaterError, match="is there already"):
        restore(tmp_path / "empty", filled, silent)
    assert contents(filled.root) == before
    assert contents(tmp_path / "taken") == {"x": b"mine"}
    with pytest.raises(HeadwaterError, match="is no home"):
        make_backup(sources(tmp_path / "taken"), tmp_path / "other", silent)


def test_a_backup_that_did_not_end_leaves_nothing_that_looks_like_one(filled: Home, tmp_path: Path) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_backup(sources(filled.root), tmp_path / "backups" / "copy", when("control", die))
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.parametrize("damage", ["manifest", "format", "file missing", "file cut", "database", "rows"])
def test_a_damaged_backup_makes_no_home(filled: Home, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy"
    make_backup(sources(filled.root), copy, silent)
    (table,) = (copy / "lake").glob("*/*")
    (parquet,) = table.glob("*.parquet")
    if damage == "manifest":
        (copy / "backup.json").unlink()
    elif damage == "format":
        (copy / "FORMAT").write_text("9\n")
    elif damage == "file missing":
        parquet.unlink()
    elif damage == "file cut":
        parquet.write_bytes(parquet.read_bytes()[:-1])
    elif damage == "database":
        (copy / "control.sqlite3").write_bytes(b"SQLite format 3\0" + bytes(4_080))
    else:
        manifest = json.loads((copy / "backup.json").read_text())
        manifest["tables"][STREAM]["rows"] = 7
        (copy / "backup.json").write_text(json.dumps(manifest))
    with pytest.raises(HeadwaterError) as caught:
        restore(copy, Home(tmp_path / "new"), silent)
    assert caught.value.code in {"home_unusable", "home_version", "conflict"}
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


def test_a_full_disk_is_told_and_leaves_nothing(filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "copy_file", full)
    with pytest.raises(HeadwaterError) as caught:
        make_backup(sources(filled.root), tmp_path / "copy", silent)
    assert caught.value.code == "storage_exhausted"
    assert not (tmp_path / "copy").exists()


def test_a_home_that_was_never_started_can_be_copied(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    made = make_backup(sources(home.root), tmp_path / "copy", silent)
    assert made == Backup(made.made_at, made.version, str(home.root), has_control=False, tables={})
    restore(tmp_path / "copy", Home(tmp_path / "new"), silent)
    assert stored(tmp_path / "new") == []


def test_segments_of_the_audit_log_agree_with_the_copied_database(
    settings: Settings, journal: Journal, lake: TableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    copy_database = module._copy_database

    def export(name: str) -> None:
        segment = settings.home / "lake" / AUDIT_FOLDER / "org_1" / name
        segment.parent.mkdir(parents=True, exist_ok=True)
        segment.write_bytes(b"PAR1")

    def copying(source: Path, target: Path) -> int:
        if source == settings.home / "control.sqlite3":
            copied.append(1)
            export(f"{min(len(copied), 2)}.parquet")
        return copy_database(source, target)

    monkeypatch.setattr(module, "_copy_database", copying)
    target = tmp_path.parent / f"{tmp_path.name}-copy"
    make_backup(sources(settings.home), target, silent)
    assert len(copied) == 3
    assert sorted(path.name for path in (target / "lake" / AUDIT_FOLDER).rglob("*.parquet")) == [
        "1.parquet",
        "2.parquet",
    ]
