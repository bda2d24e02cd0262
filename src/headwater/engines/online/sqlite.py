"""The embedded online store: one SQLite file that many processes read and one at a time writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from headwater.core.errors import HeadwaterError
from headwater.engines.online.protocol import HEAD_BYTES, Item

_BUSY_MS: Final = 5_000
_READ_CHUNK: Final = 1_000
_WRITE_CHUNK: Final = 50_000  # so that other writers get in between
_SWEEP_ROWS: Final = 5_000
_MAPPED_BYTES: Final = 1 << 30  # read in place rather than copied into a cache
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS items (key BLOB PRIMARY KEY, value BLOB NOT NULL, expires_at INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring ON items (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_PUT: Final = f"""
INSERT INTO items (key, value, expires_at) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
WHERE substr(excluded.value, 1, {HEAD_BYTES}) > substr(items.value, 1, {HEAD_BYTES})
"""  # noqa: S608 - a constant of ours
_NOTE: Final = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class SqliteOnlineStore:
    """An ``OnlineStore`` in one file in write-ahead mode.

    What power loss takes of the newest writes is not missed: the notes that say how far the state goes are lost with
    it, and whoever feeds the store goes on from there.
    """

    is_immediate = True

    def __init__(self, path: Path) -> None:
        """Open the store at ``path``, creating it if need be; raises ``home_unusable`` when that cannot be."""
        self._path = path
        self._local = threading.local()
        self._opened: list[apsw.Connection] = []
        self._lock = threading.Lock()
        self._queries: dict[int, str] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._cursor.execute(_SCHEMA).fetchall()
        except (apsw.Error, OSError) as error:
            raise HeadwaterError(
                "home_unusable", f"the online store {path} cannot be opened: {error}", hint="make it writable"
            ) from error

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in their order; None where there is none."""
        try:
            if len(keys) == 1:
                return [self._cursor.execute("SELECT value FROM items WHERE key = ?", keys).get]
            found: dict[Any, Any] = {}
            for start in range(0, len(keys), _READ_CHUNK):
                chunk = keys[start : start + _READ_CHUNK]
                found.update(dict(self._cursor.execute(self._query(len(chunk)), chunk)))
        except apsw.Error as error:
            raise self._unavailable(error) from error
        return [found.get(key) for key in keys]

    async def fetch(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys; a thread would cost more than the read."""
        return self.read(keys)

    def write(self, items: Sequence[Item], notes: Mapping[str, bytes] | None = None) -> None:
        """Store what is newer than what is there; the notes commit with the last of the items."""
        rows = iter(items)
        is_last = False
        while not is_last:
            chunk = list(islice(rows, _WRITE_CHUNK))
            is_last = len(chunk) < _WRITE_CHUNK
            with self._transaction() as cursor:
                if chunk:
                    cursor.executemany(_PUT, chunk)
                if is_last and notes:
                    cursor.executemany(_NOTE, notes.items())

    def note(self, name: str) -> bytes | None:
        """Return a note."""
        try:
            value: bytes | None = self._cursor.execute("SELECT value FROM notes WHERE name = ?", (name,)).get
        except apsw.Error as error:
            raise self._unavailable(error) from error
        return value

    async def fetch_note(self, name: str) -> bytes | None:
        """Return a note."""
        return self.note(name)

    def drop(self, space: bytes) -> None:
        """Delete every value of a space."""
        after = _successor(space)
        query = "DELETE FROM items WHERE key IN (SELECT key FROM items WHERE key >= ? AND key < ? LIMIT ?)"
        self._delete(query, (space, after, _SWEEP_ROWS))

    def sweep(self, now_us: int) -> int:
        """Delete what has expired; return how many."""
        query = "DELETE FROM items WHERE key IN (SELECT key FROM items WHERE expires_at <= ? LIMIT ?)"
        return self._delete(query, (now_us, _SWEEP_ROWS))

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._local = threading.local()

    @property
    def _cursor(self) -> apsw.Cursor:
        """Return this thread's cursor."""
        try:
            cursor: apsw.Cursor = self._local.cursor
        except AttributeError:
            connection = apsw.Connection(str(self._path))
            connection.set_busy_timeout(_BUSY_MS)
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = NORMAL").fetchall()
            connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}").fetchall()
            with self._lock:
                self._opened.append(connection)
            cursor = self._local.cursor = connection.cursor()
        return cursor

    def _delete(self, query: str, values: tuple[Any, ...]) -> int:
        """Delete in short transactions, so that writers get in between."""
        deleted = 0
        while True:
            with self._transaction() as cursor:
                cursor.execute(query, values)
                count = cursor.connection.changes()
            deleted += count
            if count < _SWEEP_ROWS:
                return deleted

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Cursor]:
        try:
            cursor = self._cursor
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
        except apsw.Error as error:
            raise self._unavailable(error) from error

    def _query(self, count: int) -> str:
        query = self._queries.get(count)
        if query is None:
            marks = ",".join("?" * count)
            query = self._queries[count] = f"SELECT key, value FROM items WHERE key IN ({marks})"  # noqa: S608 - marks
        return query

    def _unavailable(self, error: apsw.Error) -> HeadwaterError:
        return HeadwaterError(
            "features_unavailable", f"the online store {self._path} failed: {error}", retry_after_seconds=5
        )


def _successor(prefix: bytes) -> bytes:
    """Return the first key after all that begin with ``prefix``, which is not all 255s."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1])
