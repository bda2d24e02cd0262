"""The journal's file: its tables, its identity and the checks before it is trusted.

Every commit pays for each B-tree page it touches, so there are few indexes and each serves a named question.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_uuid
from headwater.engines.journal import receipts
from headwater.engines.journal.faults import translated, unavailable

FORMAT_VERSION: Final = 2
_PACKS_RECEIPTS_SINCE: Final = 2
APPLICATION_ID: Final = 0x48574A4C  # "HWJL", so that tools and we recognise the file
PAGE_BYTES: Final = 8_192
BUSY_SECONDS: Final = 10.0
OLDEST_SQLITE: Final = 3_051_003

_TABLES: Final = f"""
CREATE TABLE journal (uuid TEXT NOT NULL);

-- One row a stream. What is counted here survives the sealing and pruning of everything it counts.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    next_seq INTEGER NOT NULL DEFAULT 1,
    received INTEGER NOT NULL DEFAULT 0,
    accepted INTEGER NOT NULL DEFAULT 0,
    duplicate INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    unsealed_blocks INTEGER NOT NULL DEFAULT 0,
    unsealed_rows INTEGER NOT NULL DEFAULT 0,
    unsealed_bytes INTEGER NOT NULL DEFAULT 0
);

-- AUTOINCREMENT keeps the ids of sealed blocks from being given out again: the lake remembers them for ever.
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL,
    oldest_at_us INTEGER NOT NULL,
    spans BLOB NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX blocks_of_stream ON blocks (stream_id);

CREATE TABLE seals (
    stream_id INTEGER NOT NULL,
    through_seq INTEGER NOT NULL,
    through_block INTEGER NOT NULL,
    table_version INTEGER NOT NULL,
    sealed_at_us INTEGER NOT NULL,
    PRIMARY KEY (stream_id, through_seq)
) WITHOUT ROWID;

CREATE TABLE idempotency (
    number INTEGER PRIMARY KEY,
    scope BLOB NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    receipt_id TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
);
CREATE INDEX idempotency_by_age ON idempotency (created_at_us);

CREATE TABLE row_keys (
    stream_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    digest BLOB NOT NULL,
    seen_at_us INTEGER NOT NULL,
    PRIMARY KEY (stream_id, key)
) WITHOUT ROWID;

CREATE TABLE ledger (
    minute INTEGER NOT NULL,
    stream_id INTEGER NOT NULL,
    principal_id TEXT NOT NULL,
    received INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    duplicate INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    PRIMARY KEY (minute, stream_id, principal_id)
) WITHOUT ROWID;

{receipts.TABLE}
"""


def prepare(path: Path) -> str:
    """Create the journal at ``path``, or check the one that is there and bring it up to date; return its uuid.

    Raises:
        HeadwaterError: ``home_version`` when another format wrote it, ``journal_unavailable`` when it cannot be used.
    """
    if apsw.SQLITE_VERSION_NUMBER < OLDEST_SQLITE:
        # Older ones can corrupt a write-ahead log that several connections checkpoint.
        raise HeadwaterError(
            "journal_unavailable",
            f"apsw brings SQLite {apsw.sqlite_lib_version()}; the journal needs 3.51.3 or newer",
            hint="install apsw 3.51.3 or newer",
        )
    with translated(path), _alone(path):
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_handler(patience(BUSY_SECONDS))
            _check(connection, path)
            return _identify(connection)
        finally:
            connection.close()


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """Open a connection to a prepared journal: full durability, no checkpoint in its commits."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_handler(patience(BUSY_SECONDS))
    connection.execute("PRAGMA synchronous = FULL")
    connection.wal_autocheckpoint(0)
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def patience(seconds: float) -> Callable[[int], bool]:
    """Return a busy handler that looks again every millisecond.

    SQLite's own backs off to 100 ms, which starves the sealer beside a busy writer.
    """
    deadline = 0.0

    def wait(attempt: int) -> bool:
        nonlocal deadline
        now = time.monotonic()
        if attempt == 0:
            deadline = now + seconds
        if now >= deadline:
            return False
        time.sleep(0.001)
        return True

    return wait


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold off other processes that would create the same file: the switch to WAL cannot be waited for."""
    try:
        lock = path.with_name(f"{path.name}.lock").open("w")
    except OSError as error:
        raise unavailable(path, error.strerror or str(error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check(connection: apsw.Connection, path: Path) -> None:
    application = connection.pragma("application_id")
    found = connection.pragma("user_version")
    empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    if empty and not application:
        return
    if application != APPLICATION_ID:
        raise HeadwaterError(
            "journal_unavailable",
            f"{path} is not a Headwater journal",
            hint="point journal.url at another file, or move this one away",
        )
    if not 1 <= found <= FORMAT_VERSION:
        raise HeadwaterError(
            "home_version",
            f"the journal {path} has format {found}; this Headwater reads format {FORMAT_VERSION}",
            hint="run the newer Headwater that wrote it"
            if found > FORMAT_VERSION
            else "run the Headwater that wrote it",
        )


def _identify(connection: apsw.Connection) -> str:
    """Create the tables if there are none, bring those of an older format up to date; return the journal's uuid."""
    if not connection.pragma("user_version"):
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with connection:
            connection.execute(_TABLES)
            connection.execute("INSERT INTO journal VALUES (?)", (str(new_uuid()),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    elif connection.pragma("user_version") < _PACKS_RECEIPTS_SINCE:
        with connection:
            receipts.take_over(connection)
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    uuid: str = connection.execute("SELECT uuid FROM journal").get
    return uuid
