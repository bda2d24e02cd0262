"""What can be asked of the SQLite journal. Every function takes a connection and leaves no read open on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from headwater.engines.journal.protocol import (
    Backlog,
    Block,
    Counts,
    IdempotencyRecord,
    LedgerRow,
    Seal,
    Span,
    StoredBlock,
)

_BACKLOG: Final = """
    SELECT s.name, s.unsealed_blocks, s.unsealed_rows, s.unsealed_bytes, oldest.id,
        (SELECT max(id) FROM blocks WHERE stream_id = s.id), oldest.oldest_at_us
    FROM streams s JOIN blocks oldest ON oldest.id = (SELECT min(id) FROM blocks WHERE stream_id = s.id)
    WHERE s.unsealed_blocks > 0 ORDER BY oldest.id"""
_BLOCKS: Final = """
    SELECT b.id, b.first_seq, b.rows, b.payload_bytes, b.spans, b.payload
    FROM streams s JOIN blocks b ON b.stream_id = s.id WHERE s.name = ? ORDER BY b.id"""
_SEAL: Final = """
    SELECT s.name, e.through_block, e.through_seq, e.table_version, e.sealed_at_us
    FROM streams s JOIN seals e ON e.stream_id = s.id
    WHERE s.name = ? AND e.through_seq >= ? ORDER BY e.through_seq LIMIT 1"""
_LEDGER: Final = """
    SELECT s.name, l.principal_id, l.minute, l.received, l.accepted, l.duplicate, l.stale, l.quarantined, l.rejected
    FROM ledger l JOIN streams s ON s.id = l.stream_id WHERE l.minute >= ? ORDER BY l.minute, s.name, l.principal_id"""

_decode_spans = msgspec.json.Decoder(list[tuple[str, int, int, str]]).decode


def fetch(connection: apsw.Connection, statement: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return all rows of a statement, so that it ends here."""
    return connection.execute(statement, bindings).fetchall()


def find_idempotency(connection: apsw.Connection, scope: bytes) -> IdempotencyRecord | None:
    """Return the stored outcome for a scope."""
    statement = """
        SELECT scope, fingerprint, status, body, receipt_id, created_at_us FROM idempotency WHERE scope = ?"""
    rows = fetch(connection, statement, (scope,))
    return IdempotencyRecord(*rows[0]) if rows else None


def find_keys(connection: apsw.Connection, stream_id: int, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return which row keys of a stream are known, with the content digest each was first seen with."""
    statement = "SELECT key, digest FROM row_keys WHERE stream_id = ? AND key = ?"
    return dict(connection.executemany(statement, [(stream_id, key) for key in keys]))


def find_seal(connection: apsw.Connection, stream: str, seq: int) -> Seal | None:
    """Return the earliest seal that covers row ``seq``."""
    rows = fetch(connection, _SEAL, (stream, seq))
    return Seal(*rows[0]) if rows else None


def backlogs(connection: apsw.Connection) -> list[Backlog]:
    """Return every stream with unsealed blocks, the longest waiting first."""
    return [Backlog(*row) for row in fetch(connection, _BACKLOG)]


def read_blocks(connection: apsw.Connection, stream: str, max_rows: int, max_bytes: int) -> list[StoredBlock]:
    """Return the oldest blocks of a stream within both limits; at least one if there is any."""
    blocks: list[StoredBlock] = []
    all_rows = all_bytes = 0
    cursor = connection.execute(_BLOCKS, (stream,))
    for block_id, first_seq, rows, size, spans, payload in cursor:
        all_rows += rows
        all_bytes += size
        if blocks and (all_rows > max_rows or all_bytes > max_bytes):
            cursor.close()
            break
        runs = tuple(Span(*span) for span in _decode_spans(spans))
        blocks.append(StoredBlock(block_id, first_seq, Block(stream, payload, rows, runs)))
    return blocks


def ledger(connection: apsw.Connection, since_minute: int) -> list[LedgerRow]:
    """Return the ledger from a minute on."""
    rows = fetch(connection, _LEDGER, (since_minute,))
    return [LedgerRow(name, principal, minute, Counts(*counts)) for name, principal, minute, *counts in rows]


def totals(connection: apsw.Connection, stream: str) -> Counts:
    """Return everything that ever became of a stream's rows."""
    statement = "SELECT received, accepted, duplicate, stale, quarantined, rejected FROM streams WHERE name = ?"
    rows = fetch(connection, statement, (stream,))
    return Counts(*rows[0]) if rows else Counts(0)


def unsealed_bytes(connection: apsw.Connection) -> int:
    """Return the payload bytes that wait to be sealed, over all streams."""
    total: int = connection.execute("SELECT coalesce(sum(unsealed_bytes), 0) FROM streams").get
    return total
