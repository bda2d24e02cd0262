"""What a journal promises, whatever keeps it.

A journal holds *blocks* of accepted rows per *stream* (``<environment id>/<dataset>``) until the sealer has moved them
into the lake, together with everything that must be decided in the same transaction: receipts, idempotency records, row
keys and the ledger. One ``write`` is atomic and durable: when it returns, the rows survive the loss of the process
and of the machine's power; when it raises, nothing of it exists.

Order: block ids grow in commit order and are never reused; ``seq`` numbers the rows of a stream from 1 without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Counts(Struct, frozen=True):
    """What became of the rows of a request; ``received`` is always the sum of the others."""

    received: int
    accepted: int = 0
    duplicate: int = 0
    stale: int = 0
    quarantined: int = 0
    rejected: int = 0

    def __post_init__(self) -> None:
        """Hold the conservation law: a violation is a bug that must not reach the disk."""
        parts = self.accepted + self.duplicate + self.stale + self.quarantined + self.rejected
        if self.received != parts:
            raise AssertionError(f"rows do not add up: {self}")


class Span(Struct, frozen=True):
    """A run of consecutive rows of a block that came with one request."""

    receipt_id: str
    rows: int
    received_at_us: int
    contract_version: str


class Block(Struct, frozen=True):
    """Rows on their way in: an Arrow IPC stream (one schema, one or more batches, buffers compressed or not)."""

    stream: str
    payload: bytes
    rows: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block as the journal holds it. Row ``i`` of the block has sequence number ``first_seq + i``."""

    id: int
    first_seq: int
    block: Block


class Receipt(Struct, frozen=True):
    """What a caller can ask about a request afterwards; ids grow with time.

    Sequence numbers are None when no row was accepted.
    """

    id: str
    stream: str
    principal_id: str
    received_at_us: int
    config_version: int
    counts: Counts
    first_seq: int | None = None
    last_seq: int | None = None
    errors: bytes = b""


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The stored outcome of a keyed request. ``scope`` and ``fingerprint`` are 32-byte digests."""

    scope: bytes
    fingerprint: bytes
    status: int
    body: bytes
    receipt_id: str
    created_at_us: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a stream waits to be sealed."""

    stream: str
    blocks: int
    rows: int
    payload_bytes: int
    first_block: int
    last_block: int
    oldest_at_us: int


@dataclass(frozen=True, slots=True)
class Seal:
    """A segment that reached the lake: blocks and rows up to and including these are in ``table_version``."""

    stream: str
    through_block: int
    through_seq: int
    table_version: int
    sealed_at_us: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Counts of one stream and principal in one minute (epoch minutes), or of a day that was folded."""

    stream: str
    principal_id: str
    minute: int
    counts: Counts


class IdempotencyConflict(Exception):
    """Another request with this idempotency scope committed first; the transaction is void."""

    def __init__(self, record: IdempotencyRecord) -> None:
        """Keep the record that won."""
        super().__init__(record.receipt_id)
        self.record = record


class JournalTransaction(Protocol):
    """What can be done inside one ``Journal.write``."""

    def append(self, block: Block) -> int:
        """Add a block; return the sequence number of its first row."""
        ...

    def find_keys(self, stream: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return which row keys (16 bytes each) are known, with the content digest each was first seen with."""
        ...

    def put_keys(self, stream: str, entries: Mapping[bytes, bytes], seen_at_us: int) -> None:
        """Remember row keys and content digests; keys already known keep their first digest."""
        ...

    def put_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Store receipts and add their counts to the ledger's minutes."""
        ...

    def put_idempotency(self, records: Sequence[IdempotencyRecord]) -> None:
        """Store outcomes; raises ``IdempotencyConflict`` when a scope is taken."""
        ...


class Journal(Protocol):
    """A durable, ordered buffer of accepted rows. Safe to use from several threads and several processes."""

    @property
    def uuid(self) -> str:
        """Return the identity of this journal's history; block ids are only comparable within it."""
        ...

    def write(self, change: Callable[[JournalTransaction], T]) -> T:
        """Run ``change`` in one transaction and make it durable; return what it returned.

        Raises:
            HeadwaterError: ``journal_unavailable`` or ``storage_exhausted``; nothing was stored.
            Exception: whatever ``change`` raised; nothing was stored.
        """
        ...

    def find_idempotency(self, scope: bytes) -> IdempotencyRecord | None:
        """Return the stored outcome for a scope."""
        ...

    def find_keys(self, stream: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return which row keys are known by now, as a transaction would; waits for no writer and no room."""
        ...

    def find_receipt(self, receipt_id: str) -> Receipt | None:
        """Return a receipt."""
        ...

    def recent_receipts(self, stream: str, *, limit: int) -> list[Receipt]:
        """Return the newest receipts of a stream, newest first."""
        ...

    def find_seal(self, stream: str, seq: int) -> Seal | None:
        """Return the earliest seal that covers row ``seq``, or None while it is only in the journal."""
        ...

    def backlogs(self) -> list[Backlog]:
        """Return every stream with unsealed blocks."""
        ...

    def read(self, stream: str, *, max_rows: int, max_bytes: int) -> list[StoredBlock]:
        """Return the oldest unsealed blocks of a stream, in order; at least one if there is any."""
        ...

    def seal(self, seal: Seal) -> None:
        """Record that the lake holds the blocks up to ``seal.through_block`` and delete them, atomically."""
        ...

    def ledger(self, *, since_minute: int) -> list[LedgerRow]:
        """Return the ledger from a minute on."""
        ...

    def fold_ledger(self, *, before_minute: int) -> None:
        """Add the minutes of whole days before this one up to one row a day, under the day's first minute.

        What the rows of a stream and principal add up to stays the same.
        """
        ...

    def totals(self, stream: str) -> Counts:
        """Return everything that ever became of a stream's rows."""
        ...

    def unsealed_bytes(self) -> int:
        """Return the payload bytes that wait to be sealed, over all streams."""
        ...

    def prune(self, *, idempotency_before_us: int, receipts_before_us: int, keys_before_us: Mapping[str, int]) -> None:
        """Delete idempotency records, receipts with their seals, and per stream row keys older than these instants."""
        ...

    def close(self) -> None:
        """Release the journal; everything written stays."""
        ...
