"""A journal in memory, for tests of what stands in front of one. Not durable, otherwise as the protocol says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TypeVar

from headwater.engines.journal.protocol import (
    Backlog,
    Block,
    Counts,
    IdempotencyConflict,
    IdempotencyRecord,
    LedgerRow,
    Receipt,
    Seal,
    StoredBlock,
)

T = TypeVar("T")


@dataclass
class _State:
    blocks: dict[str, list[StoredBlock]] = field(default_factory=dict)
    next_seq: dict[str, int] = field(default_factory=dict)
    keys: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    idempotency: dict[bytes, IdempotencyRecord] = field(default_factory=dict)
    next_block: int = 1


class MemoryTransaction:
    def __init__(self, state: _State) -> None:
        self._state = state

    def append(self, block: Block) -> int:
        first = self._state.next_seq.get(block.stream, 0)
        self._state.blocks.setdefault(block.stream, []).append(StoredBlock(self._state.next_block, first, block))
        self._state.next_block += 1
        self._state.next_seq[block.stream] = first + block.rows
        return first

    def find_keys(self, stream: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        known = self._state.keys.get(stream, {})
        return {key: known[key] for key in keys if key in known}

    def put_keys(self, stream: str, entries: Mapping[bytes, bytes], seen_at_us: int) -> None:  # noqa: ARG002
        known = self._state.keys.setdefault(stream, {})
        for key, digest in entries.items():
            known.setdefault(key, digest)

    def put_receipts(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            self._state.receipts[receipt.id] = receipt

    def put_idempotency(self, records: Sequence[IdempotencyRecord]) -> None:
        for record in records:
            if record.scope in self._state.idempotency:
                raise IdempotencyConflict(self._state.idempotency[record.scope])
            self._state.idempotency[record.scope] = record


class MemoryJournal:
    uuid = "memory"

    def __init__(self) -> None:
        self._state = _State()
        self._lock = threading.Lock()
        self.transactions = 0
        self.fail_with: Exception | None = None

    def write(self, change: Callable[[MemoryTransaction], T]) -> T:
        with self._lock:
            if self.fail_with is not None:
                raise self.fail_with
            draft = deepcopy(self._state)
            result = change(MemoryTransaction(draft))
            self._state = draft
            self.transactions += 1
            return result

    def find_idempotency(self, scope: bytes) -> IdempotencyRecord | None:
        return self._state.idempotency.get(scope)

    def find_keys(self, stream: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return MemoryTransaction(self._state).find_keys(stream, keys)

    def find_receipt(self, receipt_id: str) -> Receipt | None:
        return self._state.receipts.get(receipt_id)

    def recent_receipts(self, stream: str, *, limit: int) -> list[Receipt]:
        found = [receipt for receipt in self._state.receipts.values() if receipt.stream == stream]
        return found[::-1][:limit]

    def find_seal(self, stream: str, seq: int) -> Seal | None:  # noqa: ARG002
        return None

    def backlogs(self) -> list[Backlog]:
        return [
            Backlog(
                stream,
                len(blocks),
                sum(stored.block.rows for stored in blocks),
                sum(len(stored.block.payload) for stored in blocks),
                blocks[0].id,
                blocks[-1].id,
                blocks[0].block.spans[0].received_at_us,
            )
            for stream, blocks in self._state.blocks.items()
            if blocks
        ]

    def read(self, stream: str, *, max_rows: int, max_bytes: int) -> list[StoredBlock]:  # noqa: ARG002
        return list(self._state.blocks.get(stream, []))

    def seal(self, seal: Seal) -> None:
        blocks = self._state.blocks.get(seal.stream, [])
        self._state.blocks[seal.stream] = [stored for stored in blocks if stored.id > seal.through_block]

    def ledger(self, *, since_minute: int) -> list[LedgerRow]:  # noqa: ARG002
        return []

    def fold_ledger(self, *, before_minute: int) -> None:
        pass

    def totals(self, stream: str) -> Counts:
        counts = [receipt.counts for receipt in self._state.receipts.values() if receipt.stream == stream]
        return Counts(*(sum(getattr(count, name) for count in counts) for name in Counts.__struct_fields__))

    def unsealed_bytes(self) -> int:
        return sum(backlog.payload_bytes for backlog in self.backlogs())

    def prune(self, *, idempotency_before_us: int, receipts_before_us: int, keys_before_us: Mapping[str, int]) -> None:
        pass

    def close(self) -> None:
        pass
