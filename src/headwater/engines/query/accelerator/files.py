"""The files of the accelerator: where they lie, what each says of itself, and how many may stay."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import orjson

FORMAT: Final = 1
SUFFIX: Final = ".duckdb"
BUILDING: Final = ".building"
TABLE: Final = "t"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file was made of.

    Attributes:
        files: the Parquet files whose rows it has, all of them and no others.
        columns: name and DuckDB type of every column, in the order of the lake's table.
        sorted_by: the columns its rows are sorted by.
        rows: how many it has.
        engine: the DuckDB that wrote it.
        format: the layout of the file.
    """

    files: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    sorted_by: tuple[str, ...]
    rows: int
    engine: str
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """Return what the file is named by."""
        content = orjson.dumps([sorted(self.files), self.columns, self.sorted_by, self.engine, self.format])
        return hashlib.blake2b(content, digest_size=10).hexdigest()

    def pack(self) -> str:
        """Return the manifest as the file holds it."""
        members = [self.files, self.columns, self.sorted_by, self.rows, self.engine, self.format]
        return orjson.dumps(members).decode()


@dataclass(frozen=True, slots=True)
class Base:
    """A file that can be read, and the table it stands for."""

    environment_id: str
    table: str
    path: Path
    size: int
    manifest: Manifest

    @property
    def files(self) -> frozenset[str]:
        """Return the Parquet files whose rows it has."""
        return frozenset(self.manifest.files)


def read_manifest(path: Path) -> Manifest:
    """Return what a file says of itself.

    Raises:
        ValueError: another version of Headwater or of DuckDB wrote it.
        duckdb.Error: it is no DuckDB file, or broken.
    """
    with duckdb.connect(path, read_only=True, config={"threads": 1}) as connection:
        row = connection.execute("SELECT document FROM manifest").fetchone()
    files, columns, sorted_by, rows, engine, form = orjson.loads(row[0] if row else b"null")
    if form != FORMAT or engine != duckdb.__version__:
        raise ValueError(f"format {form} of DuckDB {engine}")
    pairs = tuple((name, type_) for name, type_ in columns)
    return Manifest(tuple(files), pairs, tuple(sorted_by), rows, engine, form)


class Shelf:
    """The directory of the files, shared by every process of the home: ``<environment>/<table>/<digest>.duckdb``."""

    def __init__(self, root: Path) -> None:
        """Keep files below ``root``, which need not be there."""
        self.root = root
        self._known: dict[tuple[Path, int, int], Manifest] = {}

    def bases(self, environment_id: str) -> tuple[list[Base], list[tuple[Path, str]]]:
        """Return the files of an environment that can be read, and those that cannot with the reason."""
        good: list[Base] = []
        bad: list[tuple[Path, str]] = []
        for path in sorted((self.root / environment_id).glob(f"*/*{SUFFIX}")):
            try:
                status = path.stat()
                place = (path, status.st_ino, status.st_size)
                manifest = self._known.get(place)
                if manifest is None:
                    manifest = self._known[place] = read_manifest(path)
            except FileNotFoundError:
                continue  # another process let go of it
            except (duckdb.Error, ValueError, TypeError, OSError) as error:
                bad.append((path, str(error).split("\n", 1)[0]))
                continue
            good.append(Base(environment_id, path.parent.name, path, status.st_size, manifest))
        return good, bad

    def folder(self, environment_id: str, table: str) -> Path:
        """Return where the files of a table lie."""
        return self.root / environment_id / table

    def sweep(self) -> None:
        """Remove what builds left behind that were killed: those whose lock nobody holds."""
        for lock in self.root.glob("*/*/lock"):
            with holding(lock) as is_held:
                if is_held:
                    for left in lock.parent.glob(f"*{BUILDING}*"):
                        remove(left)

    def make_room(self, budget: int, *, keep: Path | None = None) -> list[Path]:
        """Remove the files unused for longest until all fit in ``budget`` bytes; return those that went."""
        found = []
        for path in self.root.glob(f"*/*/*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((path == keep, status.st_mtime, status.st_size, path))
        total = sum(size for _, _, size, _ in found)
        gone: list[Path] = []
        for _, _, size, path in sorted(found):
            if total <= budget:
                break
            remove(path)
            gone.append(path)
            total -= size
        return gone


def touch(bases: Iterable[Base]) -> None:
    """Note that files are in use: those that are not go first."""
    for base in bases:
        with contextlib.suppress(OSError):
            os.utime(base.path)


def remove(path: Path) -> None:
    """Remove a file or a folder; readers that have it open go on reading."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def holding(lock: Path) -> Iterator[bool]:
    """Hold the lock of a table while its file is built; yield False when another process does. It ends with us."""
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
