"""What every journal promises to one caller at a time."""

from __future__ import annotations

import pytest
from tests.builders.journal import STREAM, ids_of, make_block, make_receipt, make_record

from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import (
    Block,
    Counts,
    IdempotencyConflict,
    Journal,
    JournalTransaction,
    LedgerRow,
    Seal,
    Span,
)

EVERYTHING = {"max_rows": 1_000_000, "max_bytes": 1 << 30}


class TestAppending:
    def test_rows_are_numbered_from_one_without_gaps(self, journal: Journal) -> None:
        firsts = [journal.write(lambda tx: tx.append(make_block([1, 2, 3]))) for _ in range(3)]
        assert firsts == [1, 4, 7]

    def test_streams_are_numbered_apart(self, journal: Journal) -> None:
        journal.write(lambda tx: tx.append(make_block([1, 2])))
        assert journal.write(lambda tx: tx.append(make_block([1], stream="env_1/other"))) == 1

    def test_blocks_of_one_transaction_follow_each_other(self, journal: Journal) -> None:
        assert journal.write(lambda tx: [tx.append(make_block([1])), tx.append(make_block([2, 3]))]) == [1, 2]

    def test_a_block_comes_back_as_it_went_in(self, journal: Journal) -> None:
        spans = (Span("rcp_a", 1, 5, "1.0"), Span("rcp_b", 2, 6, "1.1"))
        block = Block(STREAM, make_block([7, 8, 9]).payload, 3, spans)
        journal.write(lambda tx: tx.append(block))
        (stored,) = journal.read(STREAM, **EVERYTHING)
        assert stored.block == block
        assert stored.first_seq == 1

    def test_block_ids_grow_in_commit_order_over_all_streams(self, journal: Journal) -> None:
        for stream in ("e/a", "e/b", "e/a"):
            journal.write(lambda tx, stream=stream: tx.append(make_block(stream=stream)))  # type: ignore[misc]
        a, b = journal.read("e/a", **EVERYTHING), journal.read("e/b", **EVERYTHING)
        assert a[0].id < b[0].id < a[1].id

    def test_spans_must_add_up_to_the_rows(self, journal: Journal) -> None:
        block = Block(STREAM, b"x", 2, (Span("rcp_1", 1, 1, "1.0"),))
        with pytest.raises(ValueError, match="do not add up"):
            journal.write(lambda tx: tx.append(block))
        assert journal.backlogs() == []

    def test_whatever_raises_leaves_nothing_behind(self, journal: Journal) -> None:
        def change(tx: JournalTransaction) -> None:
            tx.append(make_block())
            tx.put_receipts([make_receipt()])
            tx.put_keys(STREAM, {b"k" * 16: b"d" * 16}, 1)
            tx.put_idempotency([make_record()])
            raise KeyError("no")

        with pytest.raises(KeyError):
            journal.write(change)
        assert journal.backlogs() == []
        assert journal.find_receipt("rcp_1") is None
        assert journal.find_idempotency(make_record().scope) is None
        assert journal.ledger(since_minute=0) == []
        assert journal.totals(STREAM) == Counts(0)
        assert journal.write(lambda tx: tx.find_keys(STREAM, [b"k" * 16])) == {}
        assert journal.write(lambda tx: tx.append(make_block())) == 1

    def test_it_all_outlives_the_process(self, journal: Journal, journal_settings: Settings) -> None:
        uuid = journal.uuid
        journal.write(lambda tx: tx.append(make_block([4, 5])))
        journal.write(lambda tx: tx.put_receipts([make_receipt()]))
        journal.close()
        again = open_journal(journal_settings)
        assert again.uuid == uuid
        assert ids_of(again.read(STREAM, **EVERYTHING)) == [4, 5]
        assert again.find_receipt("rcp_1") == make_receipt()
        again.close()

    def test_a_closed_journal_says_so(self, journal: Journal) -> None:
        journal.close()
        journal.close()
        with pytest.raises(HeadwaterError, match="closed") as caught:
            journal.write(lambda tx: tx.append(make_block()))
        assert caught.value.code == "journal_unavailable"
        with pytest.raises(HeadwaterError, match="closed"):
            journal.backlogs()


class TestReading:
    def test_the_limits_cut_between_blocks(self, journal: Journal) -> None:
        for n in range(4):
            journal.write(lambda tx, n=n: tx.append(make_block([n, n])))  # type: ignore[misc]
        size = len(make_block([0, 0]).payload)
        assert ids_of(journal.read(STREAM, max_rows=5, max_bytes=1 << 30)) == [0, 0, 1, 1]
        assert ids_of(journal.read(STREAM, max_rows=100, max_bytes=3 * size)) == [0, 0, 1, 1, 2, 2]

    def test_one_block_is_read_however_large(self, journal: Journal) -> None:
        journal.write(lambda tx: tx.append(make_block(range(50))))
        assert len(journal.read(STREAM, max_rows=1, max_bytes=1)) == 1

    def test_an_unknown_stream_is_empty(self, journal: Journal) -> None:
        assert journal.read("e/none", **EVERYTHING) == []
        assert journal.recent_receipts("e/none", limit=5) == []
        assert journal.find_seal("e/none", 1) is None

    def test_the_backlog_tells_what_waits_longest_waiting_first(self, journal: Journal) -> None:
        first = make_block([1, 2], received_at_us=10)
        second = make_block([3], received_at_us=20)
        journal.write(lambda tx: tx.append(first))
        journal.write(lambda tx: tx.append(make_block(stream="e/b")))
        journal.write(lambda tx: tx.append(second))
        one, two = journal.backlogs()
        assert (one.stream, one.blocks, one.rows, one.oldest_at_us) == (STREAM, 2, 3, 10)
        assert one.payload_bytes == len(first.payload) + len(second.payload)
        assert one.first_block < two.first_block == two.last_block < one.last_block
        assert journal.unsealed_bytes() == one.payload_bytes + two.payload_bytes


class TestSealing:
    def fill(self, journal: Journal, blocks: int) -> list[int]:
        for n in range(blocks):
            journal.write(lambda tx, n=n: tx.append(make_block([n, n])))  # type: ignore[misc]
        return [stored.id for stored in journal.read(STREAM, **EVERYTHING)]

    def test_sealed_blocks_are_gone_and_the_rest_stays(self, journal: Journal) -> None:
        ids = self.fill(journal, 3)
        journal.seal(Seal(STREAM, ids[1], 4, table_version=9, sealed_at_us=1))
        assert ids_of(journal.read(STREAM, **EVERYTHING)) == [2, 2]
        (backlog,) = journal.backlogs()
        assert (backlog.blocks, backlog.rows, backlog.first_block) == (1, 2, ids[2])
        assert journal.unsealed_bytes() == backlog.payload_bytes

    def test_numbers_and_ids_go_on_after_everything_is_sealed(
        self, journal: Journal, journal_settings: Settings
    ) -> None:
        ids = self.fill(journal, 2)
        journal.seal(Seal(STREAM, ids[-1], 4, 1, 1))
        assert journal.backlogs() == []
        journal.close()
        again = open_journal(journal_settings)
        assert again.write(lambda tx: tx.append(make_block())) == 5
        assert again.read(STREAM, **EVERYTHING)[0].id > ids[-1]
        again.close()

    def test_sealing_again_changes_nothing(self, journal: Journal) -> None:
        ids = self.fill(journal, 2)
        seal = Seal(STREAM, ids[0], 2, 1, 1)
        journal.seal(seal)
        journal.seal(Seal(STREAM, ids[0], 2, table_version=5, sealed_at_us=9))
        assert journal.find_seal(STREAM, 1) == seal
        assert journal.backlogs()[0].blocks == 1

    def test_the_earliest_seal_that_covers_a_row_is_found(self, journal: Journal) -> None:
        ids = self.fill(journal, 3)
        seals = [Seal(STREAM, ids[0], 2, 1, 1), Seal(STREAM, ids[1], 4, 2, 2)]
        for seal in seals:
            journal.seal(seal)
        assert [journal.find_seal(STREAM, seq) for seq in (1, 2, 3, 4, 5)] == [*seals[:1] * 2, *seals[1:] * 2, None]

    def test_a_stream_nobody_wrote_cannot_be_sealed(self, journal: Journal) -> None:
        with pytest.raises(ValueError, match="no stream"):
            journal.seal(Seal("e/none", 1, 1, 1, 1))


class TestKeys:
    def test_known_keys_come_with_their_first_digest(self, journal: Journal) -> None:
        a, b, c = (letter * 16 for letter in (b"a", b"b", b"c"))
        journal.write(lambda tx: tx.put_keys(STREAM, {a: b"1" * 16, b: b"2" * 16}, 1))
        journal.write(lambda tx: tx.put_keys(STREAM, {a: b"9" * 16}, 2))
        assert journal.write(lambda tx: tx.find_keys(STREAM, [a, c, b])) == {a: b"1" * 16, b: b"2" * 16}
        assert journal.find_keys(STREAM, [a, c, b]) == {a: b"1" * 16, b: b"2" * 16}
        assert journal.find_keys("e/other", [a]) == {}

    def test_keys_are_seen_within_their_own_transaction(self, journal: Journal) -> None:
        def change(tx: JournalTransaction) -> object:
            tx.put_keys(STREAM, {b"k" * 16: b"d" * 16}, 1)
            return tx.find_keys(STREAM, [b"k" * 16])

        assert journal.write(change) == {b"k" * 16: b"d" * 16}

    def test_streams_do_not_share_keys(self, journal: Journal) -> None:
        journal.write(lambda tx: tx.put_keys(STREAM, {b"k" * 16: b"d" * 16}, 1))
        assert journal.write(lambda tx: tx.find_keys("e/other", [b"k" * 16])) == {}

    def test_pruning_forgets_only_old_keys_of_the_named_stream(self, journal: Journal) -> None:
        old, new = b"o" * 16, b"n" * 16
        for stream in (STREAM, "e/other"):
            journal.write(lambda tx, s=stream: tx.put_keys(s, {old: old}, 1))  # type: ignore[misc]
            journal.write(lambda tx, s=stream: tx.put_keys(s, {new: new}, 5))  # type: ignore[misc]
        journal.prune(idempotency_before_us=0, receipts_before_us=0, keys_before_us={STREAM: 5, "e/none": 5})
        assert journal.write(lambda tx: tx.find_keys(STREAM, [old, new])) == {new: new}
        assert len(journal.write(lambda tx: tx.find_keys("e/other", [old, new]))) == 2


class TestReceipts:
    def test_a_receipt_comes_back_as_it_went_in(self, journal: Journal) -> None:
        receipt = make_receipt(counts=Counts(7, 2, 1, 1, 2, 1))
        journal.write(lambda tx: tx.put_receipts([receipt]))
        assert journal.find_receipt("rcp_1") == receipt
        assert journal.find_receipt("rcp_2") is None

    def test_the_newest_come_first(self, journal: Journal) -> None:
        for n in (1, 3, 2):
            journal.write(lambda tx, n=n: tx.put_receipts([make_receipt(f"rcp_{n}", received_at_us=n)]))  # type: ignore[misc]
        journal.write(lambda tx: tx.put_receipts([make_receipt("rcp_9", stream="e/other", received_at_us=9)]))
        assert [receipt.id for receipt in journal.recent_receipts(STREAM, limit=2)] == ["rcp_3", "rcp_2"]

    def test_totals_and_ledger_add_up_the_receipts(self, journal: Journal) -> None:
        minute = 60_000_000
        journal.write(
            lambda tx: tx.put_receipts(
                [
                    make_receipt("a", received_at_us=minute, counts=Counts(3, accepted=2, rejected=1)),
                    make_receipt("b", received_at_us=2 * minute - 1, counts=Counts(1, duplicate=1)),
                    make_receipt("c", received_at_us=2 * minute, counts=Counts(1, stale=1)),
                    make_receipt("d", received_at_us=minute, principal="svc_2", counts=Counts(2, quarantined=2)),
                ]
            )
        )
        journal.write(lambda tx: tx.put_receipts([make_receipt("e", received_at_us=minute)]))
        assert journal.totals(STREAM) == Counts(8, accepted=3, duplicate=1, stale=1, quarantined=2, rejected=1)
        assert journal.ledger(since_minute=1) == [
            LedgerRow(STREAM, "svc_1", 1, Counts(5, accepted=3, duplicate=1, rejected=1)),
            LedgerRow(STREAM, "svc_2", 1, Counts(2, quarantined=2)),
            LedgerRow(STREAM, "svc_1", 2, Counts(1, stale=1)),
        ]
        assert journal.ledger(since_minute=3) == []

    def test_old_days_of_the_ledger_become_a_row_each_and_the_sums_stay(self, journal: Journal) -> None:
        day = 1_440

        def receipts(*minutes: int, principal: str = "svc_1", stream: str = STREAM) -> None:
            for minute in minutes:
                made = make_receipt(
                    f"{stream}{principal}{minute}",
                    stream=stream,
                    principal=principal,
                    received_at_us=minute * 60_000_000,
                    counts=Counts(3, accepted=1, quarantined=2),
                )
                journal.write(lambda tx, made=made: tx.put_receipts([made]))  # type: ignore[misc]

        receipts(10 * day, 10 * day + 1, 11 * day - 1, 11 * day + 7, 12 * day + 5, 13 * day + 1)
        receipts(10 * day + 1, principal="svc_2")
        receipts(10 * day + 2, stream="e/other")
        for _ in range(2):  # folding again changes nothing
            journal.fold_ledger(before_minute=12 * day + 100)
            rows = [row for row in journal.ledger(since_minute=0) if row.stream == STREAM]
            assert [(row.minute, row.principal_id, row.counts.received) for row in rows] == [
                (10 * day, "svc_1", 9),
                (10 * day, "svc_2", 3),
                (11 * day, "svc_1", 3),
                (12 * day + 5, "svc_1", 3),
                (13 * day + 1, "svc_1", 3),
            ]
            assert sum(row.counts.quarantined for row in rows) == journal.totals(STREAM).quarantined == 14
        receipts(10 * day + 9)  # a clock that was set back
        journal.fold_ledger(before_minute=12 * day + 100)
        assert journal.ledger(since_minute=0)[1].counts == Counts(12, accepted=4, quarantined=8)

    def test_pruning_receipts_keeps_totals_and_the_newest_seal(self, journal: Journal) -> None:
        journal.write(lambda tx: (tx.append(make_block()), tx.append(make_block())))
        journal.write(lambda tx: tx.put_receipts([make_receipt("old"), make_receipt("new", received_at_us=2_000_000)]))
        ids = [stored.id for stored in journal.read(STREAM, **EVERYTHING)]
        for n, block in enumerate(ids, 1):
            journal.seal(Seal(STREAM, block, n, table_version=n, sealed_at_us=n))
        journal.prune(idempotency_before_us=0, receipts_before_us=2_000_000, keys_before_us={})
        assert journal.find_receipt("old") is None
        assert journal.find_receipt("new") is not None
        assert journal.totals(STREAM).received == 2
        # The row is still known to be sealed, by a later version that has it as well.
        assert journal.find_seal(STREAM, 1) == Seal(STREAM, ids[1], 2, 2, 2)


class TestIdempotency:
    def test_an_outcome_is_kept(self, journal: Journal) -> None:
        record = make_record(body=b"\x00" * 70_000)
        journal.write(lambda tx: tx.put_idempotency([record]))
        assert journal.find_idempotency(record.scope) == record

    def test_the_second_of_two_is_told_who_won_and_leaves_nothing(self, journal: Journal) -> None:
        first = make_record("k", body=b"first")
        journal.write(lambda tx: tx.put_idempotency([first]))

        def change(tx: JournalTransaction) -> None:
            tx.append(make_block())
            tx.put_idempotency([make_record("other"), make_record("k", body=b"second")])

        with pytest.raises(IdempotencyConflict) as caught:
            journal.write(change)
        assert caught.value.record == first
        assert journal.backlogs() == []
        assert journal.find_idempotency(make_record("other").scope) is None

    def test_a_scope_conflicts_within_one_transaction_too(self, journal: Journal) -> None:
        with pytest.raises(IdempotencyConflict):
            journal.write(lambda tx: tx.put_idempotency([make_record(), make_record(body=b"x")]))

    def test_pruned_scopes_are_free_again(self, journal: Journal) -> None:
        records = [make_record(str(n), created_at_us=n) for n in range(4)]
        journal.write(lambda tx: tx.put_idempotency(records))
        journal.prune(idempotency_before_us=2, receipts_before_us=0, keys_before_us={})
        assert [journal.find_idempotency(record.scope) for record in records] == [None, None, *records[2:]]
        journal.write(lambda tx: tx.put_idempotency(records[:1]))
