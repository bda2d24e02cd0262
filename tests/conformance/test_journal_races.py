"""What every journal promises when many write at once, and when writers die."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.builders import children
from tests.builders.journal import STREAM, ids_of, make_block, make_receipt, make_record

from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Counts, IdempotencyConflict, Journal, Seal

EVERYTHING = {"max_rows": 1_000_000, "max_bytes": 1 << 30}


def assert_numbered(journal: Journal) -> list[int]:
    """Hold the numbering law over all unsealed blocks; return the ids in order."""
    blocks = journal.read(STREAM, **EVERYTHING)
    expected = 1
    for before, block in zip([None, *blocks], blocks, strict=False):
        assert block.first_seq == expected
        assert before is None or before.id < block.id
        expected += block.block.rows
    return ids_of(blocks)


class TestThreads:
    def test_every_row_of_every_thread_is_there_once(self, journal: Journal) -> None:
        def write(worker: int) -> None:
            for n in range(25):
                number = worker * 1_000 + n
                journal.write(
                    lambda tx, number=number: (  # type: ignore[misc]
                        tx.append(make_block([number])),
                        tx.put_receipts([make_receipt(f"rcp_{number}")]),
                    )
                )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        assert sorted(assert_numbered(journal)) == sorted(w * 1_000 + n for w in range(8) for n in range(25))
        assert journal.totals(STREAM) == Counts(200, accepted=200)

    def test_readers_see_whole_transactions_only(self, journal: Journal) -> None:
        stop = threading.Event()
        seen: list[bool] = []

        def watch() -> None:
            while not stop.is_set():
                backlogs = journal.backlogs()
                seen.append(all(b.blocks % 2 == 0 and b.rows == b.blocks for b in backlogs))

        watchers = [threading.Thread(target=watch) for _ in range(3)]
        for watcher in watchers:
            watcher.start()
        for n in range(60):
            journal.write(lambda tx, n=n: [tx.append(make_block([n])), tx.append(make_block([n]))])  # type: ignore[misc]
        stop.set()
        for watcher in watchers:
            watcher.join()
        assert seen
        assert all(seen)

    def test_one_of_many_wins_a_scope(self, journal: Journal) -> None:
        gate = threading.Barrier(8)

        def claim(worker: int) -> bool:
            gate.wait()
            try:
                journal.write(lambda tx: tx.put_idempotency([make_record(body=str(worker).encode())]))
            except IdempotencyConflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(claim, range(8))) == 1

    def test_sealing_beside_writing_loses_nothing(self, journal: Journal) -> None:
        sealed: list[int] = []
        done = threading.Event()

        def seal() -> None:
            while not done.is_set() or journal.backlogs():
                blocks = journal.read(STREAM, max_rows=7, max_bytes=1 << 30)
                if blocks:
                    sealed.extend(ids_of(blocks))
                    last = blocks[-1]
                    journal.seal(Seal(STREAM, last.id, last.first_seq + last.block.rows - 1, 1, 1))

        sealer = threading.Thread(target=seal)
        sealer.start()
        for n in range(150):
            journal.write(lambda tx, n=n: tx.append(make_block([n])))  # type: ignore[misc]
        done.set()
        sealer.join()
        assert sealed == list(range(150))
        assert journal.unsealed_bytes() == 0


class TestProcesses:
    def test_every_row_of_every_process_is_there_once(self, journal: Journal, journal_settings: Settings) -> None:
        writers = [children.start(journal_settings, "append", n * 1_000, 40) for n in range(3)]
        acknowledged = [int(line) for writer in writers for line in writer.communicate(timeout=60)[0].split()]
        assert sorted(assert_numbered(journal)) == sorted(acknowledged)
        assert len(acknowledged) == 120

    def test_one_of_many_wins_each_scope(self, journal: Journal, journal_settings: Settings) -> None:
        racers = [children.start(journal_settings, "claim", 30) for _ in range(3)]
        won = [int(line) for racer in racers for line in racer.communicate(timeout=60)[0].split()]
        assert sorted(won) == list(range(30))
        assert all(journal.find_idempotency(make_record(str(n)).scope) for n in won)

    def test_processes_may_create_it_at_the_same_time(self, journal_settings: Settings) -> None:
        writers = [children.start(journal_settings, "append", n, 1) for n in range(4)]
        assert [writer.wait(60) for writer in writers] == [0] * 4
        for writer in writers:
            writer.communicate()
        journal = open_journal(journal_settings)
        assert sorted(assert_numbered(journal)) == [0, 1, 2, 3]
        journal.close()


class TestDeath:
    @pytest.mark.parametrize(("point", "present"), [("before-commit", False), ("after-commit", True)])
    def test_a_writer_that_dies_at_the_commit(
        self, journal: Journal, journal_settings: Settings, point: str, present: bool
    ) -> None:
        acknowledged = children.run(journal_settings, "append", 1, 3, point)
        assert acknowledged == ["1", "2"]
        assert assert_numbered(journal) == [1, 2, *([3] if present else [])]
        assert journal.write(lambda tx: tx.append(make_block([9]))) == (4 if present else 3)

    def test_writers_killed_at_random_lose_nothing_acknowledged(
        self, journal: Journal, journal_settings: Settings
    ) -> None:
        chance = random.Random(7)
        acknowledged: list[int] = []
        attempts = 4
        for n in range(attempts):
            with children.start(journal_settings, "append", n * 100_000, 100_000) as writer:
                assert writer.stdout is not None
                acknowledged.append(int(writer.stdout.readline()))
                time.sleep(chance.uniform(0.01, 0.3))
                writer.kill()
                acknowledged += map(int, writer.stdout.read().split())
        present = assert_numbered(journal)
        assert len(set(present)) == len(present)
        assert set(acknowledged) <= set(present)
        # At most the one row that each was about to acknowledge.
        assert len(present) <= len(acknowledged) + attempts
