"""The journal against a model that fits on a page: whatever is done, in whatever order, both tell the same."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.builders.journal import make_block, make_receipt, make_record

from headwater.core.setting_sections import JournalSettings
from headwater.engines.journal.protocol import (
    Counts,
    IdempotencyConflict,
    IdempotencyRecord,
    JournalTransaction,
    Receipt,
    Seal,
    StoredBlock,
)
from headwater.engines.journal.sqlite import SqliteJournal

STREAMS = ("e/a", "e/b")
KEYS = [letter * 16 for letter in (b"a", b"b", b"c")]
streams = st.sampled_from(STREAMS)
instants = st.integers(0, 9)
parts = st.tuples(*[st.integers(0, 3)] * 5)


class Abort(Exception):
    pass


class JournalModel(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "journal.sqlite3"
        self.journal = SqliteJournal(self.path, JournalSettings(min_free_bytes=0))
        self.blocks: dict[str, list[StoredBlock]] = defaultdict(list)
        self.next_seq: Counter[str] = Counter(STREAMS)
        self.keys: dict[tuple[str, bytes], tuple[bytes, int]] = {}
        self.receipts: list[Receipt] = []
        self.totals: Counter[tuple[str, str]] = Counter()
        self.records: dict[bytes, IdempotencyRecord] = {}
        self.seals: dict[str, list[Seal]] = defaultdict(list)
        self.highest_block = 0
        self.receipt_number = 0

    def teardown(self) -> None:
        self.journal.close()
        self.directory.cleanup()

    @rule(stream=streams, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), at=instants, abort=st.booleans())
    def append(self, stream: str, sizes: list[int], at: int, abort: bool) -> None:
        blocks = [make_block(range(size), stream=stream, received_at_us=at) for size in sizes]

        def change(tx: JournalTransaction) -> list[int]:
            firsts = [tx.append(block) for block in blocks]
            if abort:
                raise Abort
            return firsts

        try:
            firsts = self.journal.write(change)
        except Abort:
            return
        assert firsts == [self.next_seq[stream] + sum(sizes[:n]) for n in range(len(sizes))]
        ids = [s.id for s in self.journal.read(stream, max_rows=1 << 20, max_bytes=1 << 30)][-len(sizes) :]
        assert ids == sorted(set(ids))
        assert ids[0] > self.highest_block
        self.highest_block = ids[-1]
        self.blocks[stream] += [StoredBlock(*found) for found in zip(ids, firsts, blocks, strict=True)]
        self.next_seq[stream] += sum(sizes)

    @rule(stream=streams, counts=parts, at=st.integers(0, 3), principal=st.sampled_from(["p", "q"]))
    def receive(self, stream: str, counts: tuple[int, ...], at: int, principal: str) -> None:
        self.receipt_number += 1
        receipt = make_receipt(
            f"rcp_{self.receipt_number:06}",
            stream=stream,
            principal=principal,
            received_at_us=at * 60_000_000,
            counts=Counts(sum(counts), *counts),
        )
        self.journal.write(lambda tx: tx.put_receipts([receipt]))
        self.receipts.append(receipt)
        for name in Counts.__struct_fields__:
            self.totals[stream, name] += getattr(receipt.counts, name)
            self.totals[f"{stream} {principal} {at}", name] += getattr(receipt.counts, name)

    @rule(
        stream=streams, keys=st.lists(st.sampled_from(KEYS), min_size=1, unique=True), digest=st.binary(), at=instants
    )
    def remember(self, stream: str, keys: list[bytes], digest: bytes, at: int) -> None:
        self.journal.write(lambda tx: tx.put_keys(stream, dict.fromkeys(keys, digest), at))
        for key in keys:
            self.keys.setdefault((stream, key), (digest, at))

    @rule(keys=st.lists(st.sampled_from("xyz"), min_size=1), body=st.binary(max_size=2), at=instants)
    def conclude(self, keys: list[str], body: bytes, at: int) -> None:
        records = [make_record(key, body=body, created_at_us=at) for key in keys]
        taken = dict(self.records)
        for record in records:
            if record.scope in taken:
                with pytest.raises(IdempotencyConflict) as conflict:
                    self.journal.write(lambda tx: tx.put_idempotency(records))
                assert conflict.value.record == taken[record.scope]
                return
            taken[record.scope] = record
        self.journal.write(lambda tx: tx.put_idempotency(records))
        self.records = taken

    @precondition(lambda self: any(self.blocks.values()))
    @rule(data=st.data(), at=instants)
    def seal(self, data: st.DataObject, at: int) -> None:
        stream = data.draw(st.sampled_from([name for name, blocks in self.blocks.items() if blocks]))
        count = data.draw(st.integers(1, len(self.blocks[stream])))
        last = self.blocks[stream][count - 1]
        seal = Seal(stream, last.id, last.first_seq + last.block.rows - 1, len(self.seals[stream]), at)
        self.journal.seal(seal)
        del self.blocks[stream][:count]
        self.seals[stream].append(seal)

    @rule(idempotency=instants, receipts=instants, keys=st.dictionaries(streams, instants))
    def prune(self, idempotency: int, receipts: int, keys: dict[str, int]) -> None:
        before = receipts * 10_000_000
        self.journal.prune(idempotency_before_us=idempotency, receipts_before_us=before, keys_before_us=keys)
        self.records = {s: record for s, record in self.records.items() if record.created_at_us >= idempotency}
        self.receipts = [receipt for receipt in self.receipts if receipt.received_at_us >= before]
        self.keys = {key: seen for key, seen in self.keys.items() if seen[1] >= keys.get(key[0], 0)}
        for stream, seals in self.seals.items():
            self.seals[stream] = [seal for seal in seals if seal.sealed_at_us >= before or seal is seals[-1]]

    @rule()
    def reopen(self) -> None:
        uuid = self.journal.uuid
        self.journal.close()
        self.journal = SqliteJournal(self.path, JournalSettings(min_free_bytes=0))
        assert self.journal.uuid == uuid

    @invariant()
    def both_hold_the_same_blocks(self) -> None:
        for stream in STREAMS:
            assert self.journal.read(stream, max_rows=1 << 20, max_bytes=1 << 30) == self.blocks[stream]
        waiting = {b.stream: (b.blocks, b.rows, b.first_block, b.last_block) for b in self.journal.backlogs()}
        assert waiting == {
            stream: (len(blocks), sum(s.block.rows for s in blocks), blocks[0].id, blocks[-1].id)
            for stream, blocks in self.blocks.items()
            if blocks
        }
        payloads = [stored.block.payload for blocks in self.blocks.values() for stored in blocks]
        assert self.journal.unsealed_bytes() == sum(map(len, payloads))

    @invariant()
    def both_hold_the_same_seals(self) -> None:
        for stream in STREAMS:
            for seq in range(1, self.next_seq[stream] + 1):
                covering = [seal for seal in self.seals[stream] if seal.through_seq >= seq]
                assert self.journal.find_seal(stream, seq) == (covering[0] if covering else None)

    @invariant()
    def both_hold_the_same_receipts(self) -> None:
        for stream in STREAMS:
            mine = [receipt for receipt in reversed(self.receipts) if receipt.stream == stream]
            mine.sort(key=lambda receipt: receipt.received_at_us, reverse=True)
            assert self.journal.recent_receipts(stream, limit=1_000) == mine
            assert self.journal.totals(stream) == self.counts(stream)
        for row in self.journal.ledger(since_minute=0):
            assert row.counts == self.counts(f"{row.stream} {row.principal_id} {row.minute}")

    @invariant()
    def both_know_the_same_keys_and_outcomes(self) -> None:
        for stream in STREAMS:
            known = self.journal.write(lambda tx, stream=stream: tx.find_keys(stream, KEYS))  # type: ignore[misc]
            assert known == {key: self.keys[stream, key][0] for key in KEYS if (stream, key) in self.keys}
        for key in "xyz":
            scope = make_record(key).scope
            assert self.journal.find_idempotency(scope) == self.records.get(scope)

    def counts(self, name: str) -> Counts:
        return Counts(**{part: self.totals[name, part] for part in Counts.__struct_fields__})


JournalModel.TestCase.settings = settings(stateful_step_count=25, max_examples=25, deadline=None)
TestJournalModel = JournalModel.TestCase
