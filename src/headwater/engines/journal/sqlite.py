"""The embedded journal: one SQLite file in write-ahead mode, synced at every commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import JournalSettings
from headwater.engines.journal import reads, receipts
from headwater.engines.journal.checkpoint import Checkpointer
from headwater.engines.journal.faults import translated
from headwater.engines.journal.ledger import fold_oldest_day
from headwater.engines.journal.protocol import (
    Backlog,
    Counts,
    IdempotencyRecord,
    JournalTransaction,
    LedgerRow,
    Receipt,
    Seal,
    StoredBlock,
)
from headwater.engines.journal.room import Room
from headwater.engines.journal.schema import connect, prepare
from headwater.engines.journal.transaction import SqliteTransaction

T = TypeVar("T")

_PRUNE_ROWS: Final = 5_000  # one short transaction each, so that writers get in between


class SqliteJournal:
    """A ``Journal`` in one file.

    Writes of a process go one after the other through one connection; processes take turns by SQLite's lock.
    Reads borrow a connection each and wait for nobody.
    """

    def __init__(self, path: Path, limits: JournalSettings | None = None) -> None:
        """Open the journal at ``path``, creating it if need be.

        Raises:
            HeadwaterError: ``home_version`` when another format wrote it, ``journal_unavailable`` when it is unusable.
        """
        self._path = path
        self._uuid = prepare(path)
        self._writing = threading.Lock()
        self._writer: apsw.Connection | None = None
        self._readers: list[apsw.Connection] = []
        self._closed = threading.Event()
        self._checkpointer = Checkpointer(path, self._writing)
        self._room = Room(path, limits or JournalSettings(), self.unsealed_bytes)

    @property
    def uuid(self) -> str:
        """Return the identity of this journal's history."""
        return self._uuid

    @property
    def path(self) -> Path:
        """Return the journal's file."""
        return self._path

    def write(self, change: Callable[[JournalTransaction], T]) -> T:
        """Run ``change`` in one transaction and make it durable; return what it returned."""
        self._room.check()
        with self._transaction() as connection:
            transaction = SqliteTransaction(connection)
            result = change(transaction)
            transaction.flush()
        self._room.take(transaction.payload_bytes)
        return result

    def find_idempotency(self, scope: bytes) -> IdempotencyRecord | None:
        """Return the stored outcome for a scope."""
        with self._reading() as connection:
            return reads.find_idempotency(connection, scope)

    def find_keys(self, stream: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return which row keys are known by now."""
        with self._reading() as connection:
            found = reads.fetch(connection, "SELECT id FROM streams WHERE name = ?", (stream,))
            return reads.find_keys(connection, found[0][0], keys) if found else {}

    def find_receipt(self, receipt_id: str) -> Receipt | None:
        """Return a receipt."""
        with self._reading() as connection:
            return receipts.find(connection, receipt_id)

    def recent_receipts(self, stream: str, *, limit: int) -> list[Receipt]:
        """Return the newest receipts of a stream, newest first."""
        with self._reading() as connection:
            return receipts.recent(connection, stream, limit)

    def find_seal(self, stream: str, seq: int) -> Seal | None:
        """Return the earliest seal that covers row ``seq``, or None while it is only in the journal."""
        with self._reading() as connection:
            return reads.find_seal(connection, stream, seq)

    def backlogs(self) -> list[Backlog]:
        """Return every stream with unsealed blocks, the longest waiting first."""
        with self._reading() as connection:
            return reads.backlogs(connection)

    def read(self, stream: str, *, max_rows: int, max_bytes: int) -> list[StoredBlock]:
        """Return the oldest unsealed blocks of a stream, in order; at least one if there is any."""
        with self._reading() as connection:
            return reads.read_blocks(connection, stream, max_rows, max_bytes)

    def seal(self, seal: Seal) -> None:
        """Record that the lake holds the blocks up to ``seal.through_block`` and delete them, atomically."""
        with self._transaction() as connection:
            stream_id = connection.execute("SELECT id FROM streams WHERE name = ?", (seal.stream,)).get
            if stream_id is None:
                raise ValueError(f"the journal has no stream {seal.stream!r}")
            covered = (stream_id, seal.through_block)
            gone = connection.execute(
                """SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(payload_bytes), 0)
                FROM blocks WHERE stream_id = ? AND id <= ?""",
                covered,
            ).get
            connection.execute("DELETE FROM blocks WHERE stream_id = ? AND id <= ?", covered)
            connection.execute(
                """UPDATE streams SET unsealed_blocks = unsealed_blocks - ?, unsealed_rows = unsealed_rows - ?,
                unsealed_bytes = unsealed_bytes - ? WHERE id = ?""",
                (*gone, stream_id),
            )
            connection.execute(
                "INSERT INTO seals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (stream_id, seal.through_seq, seal.through_block, seal.table_version, seal.sealed_at_us),
            )

    def ledger(self, *, since_minute: int) -> list[LedgerRow]:
        """Return the ledger from a minute on."""
        with self._reading() as connection:
            return reads.ledger(connection, since_minute)

    def fold_ledger(self, *, before_minute: int) -> None:
        """Add the minutes of whole days before this one up to one row a day; a transaction a day."""
        is_left = True
        while is_left:
            with self._transaction() as connection:
                is_left = fold_oldest_day(connection, before_minute)

    def totals(self, stream: str) -> Counts:
        """Return everything that ever became of a stream's rows."""
        with self._reading() as connection:
            return reads.totals(connection, stream)

    def unsealed_bytes(self) -> int:
        """Return the payload bytes that wait to be sealed, over all streams."""
        with self._reading() as connection:
            return reads.unsealed_bytes(connection)

    def prune(self, *, idempotency_before_us: int, receipts_before_us: int, keys_before_us: Mapping[str, int]) -> None:
        """Delete idempotency records, receipts with their seals, and per stream row keys older than these instants.

        The newest seal of a stream stays, so that a row once sealed never looks unsealed.
        """
        self._delete("idempotency", "number", "created_at_us < ?", (idempotency_before_us,))
        with self._reading() as connection:
            streams = reads.fetch(connection, "SELECT id FROM streams")
        for (stream_id,) in streams:
            self._prune_receipts(stream_id, receipts_before_us)
            older = "stream_id = ? AND sealed_at_us < ? AND through_seq < "
            newest = "(SELECT max(through_seq) FROM seals WHERE stream_id = ?)"
            self._delete("seals", "stream_id, through_seq", older + newest, (stream_id, receipts_before_us, stream_id))
        for stream, before_us in keys_before_us.items():
            where = "stream_id = (SELECT id FROM streams WHERE name = ?) AND seen_at_us < ?"
            self._delete("row_keys", "stream_id, key", where, (stream, before_us))

    def close(self) -> None:
        """Release the journal; everything written stays."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._checkpointer.close()
        with self._writing:
            while self._readers:
                self._readers.pop().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _delete(self, table: str, key: str, where: str, bindings: tuple[Any, ...]) -> None:
        statement = (
            f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {where} LIMIT {_PRUNE_ROWS})"  # noqa: S608 - the parts are literals of this module
        )
        deleted = _PRUNE_ROWS
        while deleted == _PRUNE_ROWS:
            with self._transaction() as connection:
                connection.execute(statement, bindings)
                deleted = connection.changes()

    def _prune_receipts(self, stream_id: int, before_us: int) -> None:
        reached: str | None = ""
        while reached is not None:
            with self._transaction() as connection:
                reached = receipts.prune(connection, stream_id, reached, before_us)

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        """Hold the one writing connection inside a transaction that ends durably or not at all."""
        with self._writing, translated(self._path):
            connection = self._writing_connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise

    def _writing_connection(self) -> apsw.Connection:
        if self._closed.is_set():
            raise HeadwaterError("journal_unavailable", "the journal is closed", retry_after_seconds=1)
        if self._writer is None:
            self._writer = connect(self._path)
            self._writer.set_wal_hook(self._checkpointer.notice)
        return self._writer

    def _roll_back(self, connection: apsw.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except apsw.Error:
            # A connection that cannot even roll back would refuse every later transaction: start with a new one.
            with suppress(apsw.Error):
                connection.close(force=True)
            self._writer = None

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """Lend a reading connection of its own; they are reused, and there are as many as reads at one time."""
        with translated(self._path):
            if self._closed.is_set():
                raise HeadwaterError("journal_unavailable", "the journal is closed", retry_after_seconds=1)
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = connect(self._path, read_only=True)
            try:
                yield connection
            finally:
                if self._closed.is_set():
                    connection.close()
                else:
                    self._readers.append(connection)
