"""One transaction on the SQLite journal. What it changes in counters is gathered and written once, at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import apsw
import msgspec

from headwater.engines.journal.protocol import Block, IdempotencyConflict, IdempotencyRecord, Receipt
from headwater.engines.journal.reads import fetch, find_idempotency, find_keys
from headwater.engines.journal.receipts import Parts, parts_of, put

_Six = tuple[int, int, int, int, int, int]
_ZERO: Final[_Six] = (0, 0, 0, 0, 0, 0)

_APPEND: Final = """
    INSERT INTO blocks (stream_id, first_seq, rows, payload_bytes, oldest_at_us, spans, payload)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_ADVANCE: Final = """
    UPDATE streams SET next_seq = ?, received = received + ?, accepted = accepted + ?, duplicate = duplicate + ?,
        stale = stale + ?, quarantined = quarantined + ?, rejected = rejected + ?,
        unsealed_blocks = unsealed_blocks + ?, unsealed_rows = unsealed_rows + ?, unsealed_bytes = unsealed_bytes + ?
    WHERE id = ?"""
_LEDGER: Final = """
    INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET received = received + excluded.received, accepted = accepted + excluded.accepted,
        duplicate = duplicate + excluded.duplicate, stale = stale + excluded.stale,
        quarantined = quarantined + excluded.quarantined, rejected = rejected + excluded.rejected"""
_IDEMPOTENCY: Final = """
    INSERT INTO idempotency (scope, fingerprint, status, body, receipt_id, created_at_us) VALUES (?, ?, ?, ?, ?, ?)"""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Stream:
    """A stream's row and what this transaction adds to it."""

    id: int
    next_seq: int
    blocks: int = 0
    rows: int = 0
    payload_bytes: int = 0
    counts: _Six = _ZERO


class SqliteTransaction:
    """What can be done inside one ``SqliteJournal.write``; usable only until that returns."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Work on a connection that is inside a transaction."""
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._connection = connection
        self._streams: dict[str, _Stream] = {}
        self._ledger: dict[tuple[int, int, str], list[_Six]] = defaultdict(list)

    @property
    def payload_bytes(self) -> int:
        """Return the payload bytes appended so far."""
        return sum(stream.payload_bytes for stream in self._streams.values())

    def append(self, block: Block) -> int:
        """Add a block; return the sequence number of its first row."""
        if block.rows < 1 or block.rows != sum(span.rows for span in block.spans):
            raise ValueError(f"a block of {block.stream} has {block.rows} rows, but its spans do not add up to that")
        stream = self._stream(block.stream)
        first_seq, size = stream.next_seq, len(block.payload)
        spans = _encode([(s.receipt_id, s.rows, s.received_at_us, s.contract_version) for s in block.spans])
        oldest = min(span.received_at_us for span in block.spans)
        self._execute(_APPEND, (stream.id, first_seq, block.rows, size, oldest, spans, block.payload))
        stream.next_seq += block.rows
        stream.blocks += 1
        stream.rows += block.rows
        stream.payload_bytes += size
        return first_seq

    def find_keys(self, stream: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return which row keys are known, with the content digest each was first seen with."""
        known = self._find_stream(stream)
        return {} if known is None else find_keys(self._connection, known.id, keys)

    def put_keys(self, stream: str, entries: Mapping[bytes, bytes], seen_at_us: int) -> None:
        """Remember row keys and content digests; keys already known keep their first digest."""
        stream_id = self._stream(stream).id
        self._executemany(
            "INSERT INTO row_keys VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(stream_id, key, digest, seen_at_us) for key, digest in entries.items()],
        )

    def put_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Store receipts and add their counts to the ledger's minutes and the streams' totals."""
        packs: dict[int, list[Parts]] = defaultdict(list)
        for receipt in receipts:
            c = receipt.counts
            counts = (c.received, c.accepted, c.duplicate, c.stale, c.quarantined, c.rejected)
            stream_id = self._stream(receipt.stream).id
            self._ledger[receipt.received_at_us // 60_000_000, stream_id, receipt.principal_id].append(counts)
            packs[stream_id].append(parts_of(receipt, counts))
        for stream_id, parts in packs.items():
            put(self._connection, stream_id, parts)

    def put_idempotency(self, records: Sequence[IdempotencyRecord]) -> None:
        """Store outcomes; raises ``IdempotencyConflict`` when a scope is taken."""
        for r in records:
            try:
                self._execute(_IDEMPOTENCY, (r.scope, r.fingerprint, r.status, r.body, r.receipt_id, r.created_at_us))
            except apsw.ConstraintError as error:
                winner = find_idempotency(self._connection, r.scope)
                if winner is None:
                    raise
                raise IdempotencyConflict(winner) from error

    def flush(self) -> None:
        """Write the gathered counters; nothing may be added after this."""
        minutes = {where: _sum(counts) for where, counts in self._ledger.items()}
        for stream in self._streams.values():
            own = [counts for (_, stream_id, _), counts in minutes.items() if stream_id == stream.id]
            stream.counts = _sum([_ZERO, *own])
        self._executemany(_ADVANCE, [self._stream_row(stream) for stream in self._streams.values()])
        self._executemany(_LEDGER, [(*where, *counts) for where, counts in minutes.items()])

    def _stream_row(self, stream: _Stream) -> tuple[int, ...]:
        return (stream.next_seq, *stream.counts, stream.blocks, stream.rows, stream.payload_bytes, stream.id)

    def _find_stream(self, name: str) -> _Stream | None:
        stream = self._streams.get(name)
        if stream is None:
            rows = fetch(self._connection, "SELECT id, next_seq FROM streams WHERE name = ?", (name,))
            if rows:
                stream = self._streams[name] = _Stream(*rows[0])
        return stream

    def _stream(self, name: str) -> _Stream:
        """Return a stream, which exists from its first mention on."""
        stream = self._find_stream(name)
        if stream is None:
            (row,) = fetch(self._connection, "INSERT INTO streams (name) VALUES (?) RETURNING id, next_seq", (name,))
            stream = self._streams[name] = _Stream(*row)
        return stream


def _sum(counts: Sequence[_Six]) -> _Six:
    """Return the sums of counts."""
    if len(counts) == 1:
        return counts[0]
    received, accepted, duplicate, stale, quarantined, rejected = map(sum, zip(*counts, strict=True))
    return received, accepted, duplicate, stale, quarantined, rejected
