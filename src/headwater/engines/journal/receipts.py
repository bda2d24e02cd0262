"""Receipts as the SQLite journal keeps them: packed, one row for all that one transaction stores of a stream.

A row a receipt would make each commit write three pages more, and wait for the interpreter once a row. A pack holds
receipts whose ids share their first characters, which say in which second they were made, so that a look-up by id has
few packs to search.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import apsw
import msgspec
import zstandard

from headwater.engines.journal.protocol import Counts, Receipt
from headwater.engines.journal.reads import fetch

TABLE: Final = """
CREATE TABLE receipts (
    stream_id INTEGER NOT NULL,
    first_id TEXT NOT NULL,
    newest_at_us INTEGER NOT NULL,
    pack BLOB NOT NULL,
    PRIMARY KEY (stream_id, first_id)
) WITHOUT ROWID;
"""
_SAME_SECOND: Final = len("rcp_01KAV8Z4")
_MAX_IN_PACK: Final = 1_024
_PLAIN_BYTES: Final = 3_072  # what fits into a page of the tree beside others
_PRUNE_ROWS: Final = 1_000
_PUT: Final = "INSERT INTO receipts VALUES (?, ?, ?, ?)"
_FIND: Final = """
    SELECT s.name, r.pack FROM streams s JOIN receipts r ON r.stream_id = s.id AND r.first_id BETWEEN ? AND ?
    ORDER BY r.first_id DESC"""
_RECENT: Final = """
    SELECT s.name, r.pack FROM streams s JOIN receipts r ON r.stream_id = s.id
    WHERE s.name = ? ORDER BY r.first_id DESC"""
_PAGE: Final = """
    SELECT first_id, newest_at_us FROM receipts WHERE stream_id = ? AND first_id > ? ORDER BY first_id LIMIT ?"""
_DELETE: Final = """
    DELETE FROM receipts WHERE stream_id = ? AND first_id BETWEEN ? AND ? AND newest_at_us < ?"""

Parts = tuple[str, str, int, int, int, int, int, int, int, int, int | None, int | None, bytes]
"""A receipt without its stream: id, principal, instant, configuration, the six counts, first and last row, errors."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Parts]).decode


def parts_of(receipt: Receipt, counts: tuple[int, int, int, int, int, int]) -> Parts:
    """Return what a pack holds of a receipt with these counts."""
    return (
        receipt.id,
        receipt.principal_id,
        receipt.received_at_us,
        receipt.config_version,
        *counts,
        receipt.first_seq,
        receipt.last_seq,
        receipt.errors,
    )


def put(connection: apsw.Connection, stream_id: int, receipts: Iterable[Parts]) -> None:
    """Store receipts of one stream."""
    for _, made in itertools.groupby(sorted(receipts), key=lambda parts: parts[0][:_SAME_SECOND]):
        while some := list(itertools.islice(made, _MAX_IN_PACK)):
            connection.execute(_PUT, (stream_id, some[0][0], max(parts[2] for parts in some), _pack(some)))


def find(connection: apsw.Connection, receipt_id: str) -> Receipt | None:
    """Return a receipt."""
    for stream, pack in fetch(connection, _FIND, (receipt_id[:_SAME_SECOND], receipt_id)):
        for parts in _unpack(pack):
            if parts[0] == receipt_id:
                return _receipt(stream, parts)
    return None


def recent(connection: apsw.Connection, stream: str, limit: int) -> list[Receipt]:
    """Return the newest receipts of a stream, newest first."""
    found: list[Receipt] = []
    cursor: Any = connection.execute(_RECENT, (stream,))
    for name, pack in cursor:
        found += [_receipt(name, parts) for parts in _unpack(pack)]
        if len(found) >= limit:
            cursor.close()
            break
    return sorted(found, key=lambda receipt: (receipt.received_at_us, receipt.id), reverse=True)[:limit]


def prune(connection: apsw.Connection, stream_id: int, after: str, before_us: int) -> str | None:
    """Delete some packs that hold nothing but older receipts, of ids beyond ``after``; return where to go on.

    Ids grow with time, so that nothing is left to do once a page of packs has none that is old enough.
    """
    page = fetch(connection, _PAGE, (stream_id, after, _PRUNE_ROWS))
    if not any(newest_at_us < before_us for _, newest_at_us in page):
        return None
    last: str = page[-1][0]
    connection.execute(_DELETE, (stream_id, page[0][0], last, before_us))
    return last


def _pack(receipts: Sequence[Parts]) -> bytes:
    plain = _encode(receipts)
    return plain if len(plain) <= _PLAIN_BYTES else zstandard.ZstdCompressor(level=1).compress(plain)


def _unpack(pack: bytes) -> Iterator[Parts]:
    is_compressed = pack.startswith(zstandard.FRAME_HEADER)
    yield from _decode(zstandard.ZstdDecompressor().decompress(pack) if is_compressed else pack)


def _receipt(stream: str, parts: Parts) -> Receipt:
    receipt_id, principal, received_at_us, config_version, *counts = parts[:10]
    return Receipt(receipt_id, stream, principal, received_at_us, config_version, Counts(*counts), *parts[10:])


def take_over(connection: apsw.Connection) -> None:
    """Pack the receipts of a journal of format 1, which kept a row of each."""
    connection.execute(f"ALTER TABLE receipts RENAME TO receipts_1; {TABLE}")
    rows: Iterable[Any] = connection.execute("""
        SELECT stream_id, id, principal_id, received_at_us, config_version, received, accepted, duplicate, stale,
            quarantined, rejected, first_seq, last_seq, errors
        FROM receipts_1 ORDER BY stream_id, id""")
    for stream_id, receipts in itertools.groupby(rows, key=lambda row: int(row[0])):
        for _, some in itertools.groupby(receipts, key=lambda row: str(row[1])[:_SAME_SECOND]):
            put(connection, stream_id, (row[1:] for row in some))
    connection.execute("DROP TABLE receipts_1")
