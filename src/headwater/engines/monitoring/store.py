"""Where profiles and traffic lie: a SQLite file in the home, a row for each version, minute and writer.

Several sidecars write and everybody reads at once. A writer replaces its own rows only, each of which says up to which
of its epochs it counts; readers merge what the writers wrote. After two days minutes become hours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from headwater.core.errors import HeadwaterError

FORMAT_VERSION: Final = 1
MINUTES_KEPT: Final = 2 * 24 * 60
HOURS_KEPT: Final = 90 * 24 * 60
HOUR: Final = 60
_BUSY_MS: Final = 5_000
_TABLES: Final = """
CREATE TABLE spans (
    environment TEXT NOT NULL,
    version TEXT NOT NULL,
    minute INTEGER NOT NULL,      -- since the epoch: the first of the span
    minutes INTEGER NOT NULL,     -- 1 or 60
    writer TEXT NOT NULL,
    epoch INTEGER NOT NULL,       -- the last of the writer's that is counted
    traffic BLOB NOT NULL,
    layout TEXT NOT NULL,         -- of the counters; empty without
    counters BLOB,
    PRIMARY KEY (environment, version, minute, minutes, writer)
) WITHOUT ROWID;
CREATE TABLE reference_profiles (
    environment TEXT NOT NULL,
    version TEXT NOT NULL,
    source TEXT NOT NULL,         -- training or first_rows
    profile BLOB NOT NULL,
    PRIMARY KEY (environment, version)
) WITHOUT ROWID;
-- Rows that wait until there are enough of them to be a reference.
CREATE TABLE first_rows (
    environment TEXT NOT NULL,
    version TEXT NOT NULL,
    writer TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (environment, version, writer, epoch)
) WITHOUT ROWID;
"""
_COLUMNS: Final = "environment, version, minute, minutes, writer, epoch, traffic, layout, counters"


@dataclass(frozen=True, slots=True)
class Span:
    """What one writer counted of a version in a minute, or an hour."""

    environment: str
    version: str
    minute: int
    minutes: int
    writer: str
    epoch: int
    traffic: bytes
    layout: str = ""
    counters: bytes | None = None


@dataclass(frozen=True, slots=True)
class FirstRows:
    """Rows of one epoch of a version that has no reference yet."""

    environment: str
    version: str
    writer: str
    epoch: int
    minute: int
    rows: int
    payload: bytes


class MonitoringStore:
    """The file. One connection, for one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file at ``path``, creating it and its folder unless it is only read.

        Raises:
            HeadwaterError: ``home_version`` when another format wrote it, ``home_unusable`` when it cannot be opened.
        """
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
            self._connection = apsw.Connection(str(path), flags=flags)
            self._connection.set_busy_timeout(_BUSY_MS)
            self._prepare(path, read_only=read_only)
        except (apsw.Error, OSError) as error:
            raise HeadwaterError("home_unusable", f"{path} cannot be used: {error}") from error

    def put(self, spans: Sequence[Span]) -> None:
        """Store spans in place of what their writers stored of these minutes before."""
        with self._transaction():
            self._put(spans)

    def own(self, environment: str, version: str, minute: int, writer: str) -> Span | None:
        """Return what a writer stored of a minute."""
        where = "environment = ? AND version = ? AND minute = ? AND minutes = 1 AND writer = ?"
        return next(self._spans(where, (environment, version, minute, writer)), None)

    def spans(self, environment: str, version: str, *, since: int, until: int) -> list[Span]:
        """Return the spans of a version that begin from minute ``since`` to before ``until``, in order."""
        where = "environment = ? AND version = ? AND minute >= ? AND minute < ? ORDER BY minute, minutes, writer"
        return list(self._spans(where, (environment, version, since, until)))

    def reference(self, environment: str, version: str) -> tuple[str, bytes] | None:
        """Return a version's reference: whence it came, and the profile's bytes."""
        sql = "SELECT source, profile FROM reference_profiles WHERE environment = ? AND version = ?"
        return self._connection.execute(sql, (environment, version)).fetchone()

    def put_reference(self, environment: str, version: str, source: str, profile: bytes) -> None:
        """Make a profile the reference of a version from now on."""
        with self._transaction():
            self._put_reference(environment, version, source, profile)

    def add_first_rows(self, found: FirstRows) -> int | None:
        """Keep rows and return how many there are now; None when there is a reference by now, and nothing was kept."""
        with self._transaction():
            if self.reference(found.environment, found.version) is not None:
                return None
            self._connection.execute(
                "INSERT INTO first_rows VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    found.environment, found.version, found.writer, found.epoch,
                    found.minute, found.rows, found.payload,
                ),
            )  # fmt: skip
            return self.count_first_rows(found.environment, found.version)

    def count_first_rows(self, environment: str, version: str) -> int:
        """Return how many rows of a version wait for a reference."""
        sql = "SELECT coalesce(sum(rows), 0) FROM first_rows WHERE environment = ? AND version = ?"
        count: int = self._connection.execute(sql, (environment, version)).get
        return count

    def settle(
        self,
        environment: str,
        version: str,
        make: Callable[[list[FirstRows]], tuple[str, bytes, list[Span]]],
    ) -> None:
        """Make a reference out of the rows that wait, once, whoever else tries.

        Args:
            environment: the environment's id.
            version: the version's id.
            make: turns the rows into source, profile, and what they count in their own minutes.
        """
        with self._transaction():
            if self.reference(environment, version) is not None:
                return
            sql = "SELECT * FROM first_rows WHERE environment = ? AND version = ? ORDER BY minute, writer, epoch"
            waiting = [FirstRows(*row) for row in self._connection.execute(sql, (environment, version))]
            if not waiting:
                return
            source, profile, spans = make(waiting)
            self._put_reference(environment, version, source, profile)
            self._put(spans)
            self._connection.execute(
                "DELETE FROM first_rows WHERE environment = ? AND version = ?", (environment, version)
            )

    def condense(self, now_minute: int, merge: Callable[[list[Span]], Span]) -> int:
        """Merge old minutes into hours and forget what is older than those are kept; return the spans that went.

        Args:
            now_minute: the minute it is.
            merge: turns the spans of one version and hour into one of sixty minutes.
        """
        with self._transaction():
            self._connection.execute("DELETE FROM spans WHERE minute < ?", (now_minute - HOURS_KEPT,))
            gone: int = self._connection.changes()
        oldest_kept = (now_minute - MINUTES_KEPT) // HOUR * HOUR
        sql = "SELECT DISTINCT environment, version, minute / 60 FROM spans WHERE minutes = 1 AND minute < ?"
        for environment, version, hour in list(self._connection.execute(sql, (oldest_kept,))):
            gone += self._condense_hour(environment, version, hour * HOUR, merge)
        return gone

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _condense_hour(self, environment: str, version: str, start: int, merge: Callable[[list[Span]], Span]) -> int:
        with self._transaction():
            where = "environment = ? AND version = ? AND minute >= ? AND minute < ? ORDER BY minute, writer"
            found = list(self._spans(where, (environment, version, start, start + HOUR)))
            if not found:
                return 0
            sql = "DELETE FROM spans WHERE environment = ? AND version = ? AND minute >= ? AND minute < ?"
            self._connection.execute(sql, (environment, version, start, start + HOUR))
            self._put([merge(found)])
            return len(found) - 1

    def _spans(self, where: str, bindings: tuple[str | int, ...]) -> Iterator[Span]:
        for row in self._connection.execute(f"SELECT {_COLUMNS} FROM spans WHERE {where}", bindings):  # noqa: S608 - parts are literals of this module
            yield Span(*row)

    def _put(self, spans: Sequence[Span]) -> None:
        self._connection.executemany(
            f"INSERT OR REPLACE INTO spans ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - as above
            [
                (s.environment, s.version, s.minute, s.minutes, s.writer, s.epoch, s.traffic, s.layout, s.counters)
                for s in spans
            ],
        )

    def _put_reference(self, environment: str, version: str, source: str, profile: bytes) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO reference_profiles VALUES (?, ?, ?, ?)", (environment, version, source, profile)
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _prepare(self, path: Path, *, read_only: bool) -> None:
        if not read_only:
            self._connection.pragma("journal_mode", "wal")
            # Losing power may cost the last seconds of a profile, never the file.
            self._connection.pragma("synchronous", "normal")
            with self._transaction():
                if not self._connection.pragma("user_version"):
                    self._connection.execute(_TABLES)
                    self._connection.pragma("user_version", FORMAT_VERSION)
        found = self._connection.pragma("user_version")
        if found != FORMAT_VERSION:
            raise HeadwaterError(
                "home_version",
                f"{path} has format {found}; this Headwater reads format {FORMAT_VERSION}",
                hint="run the Headwater that wrote it, or remove the file: profiles begin anew",
            )
