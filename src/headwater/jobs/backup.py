"""A copy of a home that runs, and a home from a copy.

The order makes the parts fit. What is read later may know more than what was read before, and that must never hurt:
configurations before the control database that numbers them, online features, profiles and jobs before their rows, the
journal before the lake, whose tables are copied at the version that has no row beyond the journal's, and the control
database before the artifacts that it names.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import apsw

import headwater
from headwater.core.errors import HeadwaterError
from headwater.core.home import AUDIT_FOLDER, FORMAT_VERSION, Home
from headwater.engines.journal.copying import JournalPosition, read_position
from headwater.engines.lake.copying import check_table, copy_file, copy_table, find_tables
from headwater.engines.lake.files import sync

MANIFEST: Final = "backup.json"
JOURNAL_FILE: Final = "journal.sqlite3"
_ARTIFACT: Final = re.compile(r"[0-9a-f]{64}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SECRETS: Final = ("django_secret", "node_token", "snapshot_private_key", "snapshot_public_key", "demo_key")
Said = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the parts of a home are; None for what lies on a server and is backed up there."""

    home: Home
    journal: Path
    lake: Path
    artifacts: Path
    control_database: Path | None

    def size(self) -> int:
        """Return about how many bytes there are."""
        files = [path for path in (self.journal, self.control_database) if path is not None and path.is_file()]
        folders = [self.lake, self.artifacts]
        return sum(path.stat().st_size for path in files) + sum(map(_folder_size, folders))


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. ``has_control`` is false where the control database lies on a server."""

    made_at: str
    version: str
    home: str
    has_control: bool
    tables: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Return how many sealed rows it holds."""
        return sum(table["rows"] for table in self.tables.values())


def make_backup(sources: Sources, target: Path, said: Said) -> Backup:
    """Copy a home to the new folder ``target``; it appears there once it is complete.

    Every row acknowledged before this is called is in the copy, once.

    Args:
        sources: what to copy; it may be running.
        target: a folder that does not exist, or an empty one.
        said: hears what is copied, and of bytes.

    Raises:
        HeadwaterError: ``home_unusable`` when the target is taken or a part cannot be read, ``storage_exhausted``.
    """
    if not sources.home.format_file.exists():
        raise HeadwaterError("home_unusable", f"{sources.home.root} is no home", hint="name it with --home")
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    with _built(target) as folder:
        copy = Home(folder)
        copy.prepare()
        _copy_secrets(sources.home, copy)
        for folder_there, folder_here in (
            (sources.home.online, copy.online),
            (sources.home.monitoring, copy.monitoring),
            (sources.home.jobs, copy.jobs),
        ):
            for store in sorted(folder_there.glob("*.sqlite3")):
                folder_here.mkdir(exist_ok=True, mode=0o700)
                said(folder_here.name, _copy_database(store, folder_here / store.name))
        said("journal", _copy_database(sources.journal, copy.journal / JOURNAL_FILE))
        position = JournalPosition("", {})
        if sources.journal.exists():
            position = read_position(copy.journal / JOURNAL_FILE)
        tables = _copy_tables(sources.lake, copy.lake, position, said)
        if sources.control_database is not None:
            said("control", _copy_control(sources.control_database, sources.lake, copy))
        _copy_artifacts(sources.artifacts, copy.artifacts, said)
        backup = Backup(made_at, headwater.__version__, str(sources.home.root), copy.control_database.exists(), tables)
        copy.write_secret(folder / MANIFEST, json.dumps(asdict(backup), indent=1).encode())
    return backup


def restore(source: Path, home: Home, said: Said) -> Backup:
    """Make the home that ``source`` is a backup of; it appears once it is complete and checked.

    Raises:
        HeadwaterError: ``home_unusable`` when the source is no complete backup or the home is there already,
            ``home_version`` when another format wrote it, ``conflict`` when a part of it is damaged.
    """
    backup = read_backup(source)
    with _built(home.root) as folder:
        for path in sorted(source.rglob("*")):
            place = path.relative_to(source)
            if path.is_dir():
                (folder / place).mkdir(exist_ok=True, mode=0o700)
            elif place.name != MANIFEST or place.parent != Path():
                said(place.parts[0], copy_file(path, folder / place))
        copy = Home(folder)
        copy.prepare()
        for database in copy.root.rglob("*.sqlite3"):
            _check_database(database)
        for stream, table in backup.tables.items():
            found = check_table(copy.lake / stream, table["version"])
            if found.rows != table["rows"]:
                raise HeadwaterError("conflict", f"the backup of {stream} has {found.rows} rows, not {table['rows']}")
    return backup


def read_backup(source: Path) -> Backup:
    """Return what a backup says that it holds.

    Raises:
        HeadwaterError: ``home_unusable`` when there is no complete backup, ``home_version``.
    """
    try:
        plain: dict[str, Any] = json.loads((source / MANIFEST).read_bytes())
        backup = Backup(**{name: plain[name] for name in Backup.__dataclass_fields__})
        found = (source / "FORMAT").read_text(encoding="ascii").strip()
    except (OSError, ValueError, LookupError, TypeError) as error:
        hint = "name the folder that `headwater backup` made"
        raise HeadwaterError("home_unusable", f"{source} is no complete backup", hint=hint) from error
    if found != str(FORMAT_VERSION):
        detail = f"{source} has format {found[:20]!r}; this Headwater reads format {FORMAT_VERSION}"
        raise HeadwaterError("home_version", detail, hint=f"restore it with headwater {backup.version}")
    return backup


@contextmanager
def _built(target: Path) -> Iterator[Path]:
    """Lend a folder beside ``target`` that takes its place at the end, or goes."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise HeadwaterError("home_unusable", f"{target} is there already", hint="name a folder that does not exist")
    folder = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        yield folder
        _sync_folders(folder)
        folder.replace(target)
        sync(target.parent)
    except OSError as error:
        raise HeadwaterError(
            "storage_exhausted" if error.errno in _FULL else "home_unusable",
            f"{target} cannot be written: {error}",
            hint="choose a folder that can be written and has room",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_secrets(source: Home, target: Home) -> None:
    """Copy keys, tokens and the last good configurations; locks and what only describes a run stay behind."""
    for name in _SECRETS:
        path: Path = getattr(source, name)
        if path.exists():
            copy_file(path, target.run / path.name)
    for path in sorted(source.snapshots.glob("env_*/*.json")):
        try:
            copy_file(path, target.snapshots / path.parent.name / path.name)
        except FileNotFoundError:
            continue  # services keep the newest few alone


def _copy_database(source: Path, target: Path) -> int:
    """Copy an SQLite database as it stands at one instant, while others write to it; return its size in bytes."""
    if not source.exists():
        return 0
    try:
        old = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
        new = apsw.Connection(str(target))
        try:
            old.set_busy_timeout(30_000)
            with new.backup("main", old, "main") as copying:
                copying.step()
        finally:
            old.close()
            new.close()
    except apsw.FullError as error:
        raise OSError(errno.ENOSPC, f"there is no room for {target}") from error
    except apsw.Error as error:
        raise HeadwaterError("home_unusable", f"{source} cannot be copied: {error}", hint="try again") from error
    target.chmod(0o600)
    _check_database(target)
    sync(target)
    return target.stat().st_size


def _check_database(path: Path) -> None:
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").get
        finally:
            connection.close()
    except apsw.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise HeadwaterError("conflict", f"{path.name} is damaged: {verdict}", hint="use another backup")


def _copy_tables(source: Path, target: Path, position: JournalPosition, said: Said) -> dict[str, dict[str, int]]:
    tables: dict[str, dict[str, int]] = {}
    for stream in find_tables(source):
        copied = copy_table(
            source / stream,
            target / stream,
            app_id=f"hw:{position.uuid}:{stream}",
            through=position.last_blocks.get(stream, 0),
            said=lambda size, stream=stream: said(stream, size),  # type: ignore[misc]
        )
        tables[stream] = {"version": copied.version, "rows": copied.rows}
    return tables


def _copy_control(database: Path, lake: Path, copy: Home) -> int:
    """Copy the control database with the segments of its audit log, which must agree; return the bytes.

    A segment is written before the database knows of it, so they agree if none came while the database was copied.
    """
    while True:
        before = _audit_files(lake)
        size = _copy_database(database, copy.control_database)
        if _audit_files(lake) == before:
            return size + sum(copy_file(path, copy.lake / path.relative_to(lake)) for path in before)


def _audit_files(lake: Path) -> list[Path]:
    folder = lake / AUDIT_FOLDER
    return sorted(path for path in folder.glob("*/*") if path.suffix in (".parquet", ".json"))


def _copy_artifacts(source: Path, target: Path, said: Said) -> None:
    for path in sorted(source.glob("*/*")):
        if _ARTIFACT.fullmatch(path.name):
            said("artifacts", copy_file(path, target / path.parent.name / path.name))


def _sync_folders(folder: Path) -> None:
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync(path)


def _folder_size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
