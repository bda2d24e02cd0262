from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from tests.fakes.memory_journal import MemoryJournal

from headwater.core.errors import HeadwaterError
from headwater.engines.journal.protocol import Block, JournalTransaction, Span
from headwater.services.kit.committer import GroupCommitter


class Append:
    """A commit of one row."""

    def __init__(self, name: str = "rows", *, gate: threading.Event | None = None) -> None:
        self.name = name
        self.gate = gate
        self.applied = 0

    def apply(self, transaction: JournalTransaction) -> None:
        if self.gate is not None:
            self.gate.wait(5)
        self.applied += 1
        transaction.append(Block("env_1/rows", self.name.encode(), 1, (Span("rcp_1", 1, 0, "1.0"),)))


class Explode:
    """A commit that writes and then raises."""

    def apply(self, transaction: JournalTransaction) -> None:
        Append("never").apply(transaction)
        raise LookupError("no")


class Gone:
    """A commit that finds the journal gone."""

    def apply(self, transaction: JournalTransaction) -> None:  # noqa: ARG002 - the shape of a commit
        raise HeadwaterError("journal_unavailable")


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def committer(journal: MemoryJournal) -> Iterator[GroupCommitter]:
    committer = GroupCommitter(journal)
    yield committer
    committer.close()


def stored(journal: MemoryJournal) -> list[str]:
    return [block.block.payload.decode() for block in journal.read("env_1/rows", max_rows=9, max_bytes=9)]


def test_what_waits_goes_into_one_transaction_in_order(journal: MemoryJournal, committer: GroupCommitter) -> None:
    gate = threading.Event()
    first = committer.submit(Append("0", gate=gate))
    while committer.waiting:
        time.sleep(0.001)
    rest = [committer.submit(Append(str(index))) for index in range(1, 50)]
    gate.set()
    for future in (first, *rest):
        future.result(5)
    assert stored(journal) == [str(index) for index in range(50)]
    assert journal.transactions == 2


def test_a_commit_that_raises_voids_itself_alone(journal: MemoryJournal, committer: GroupCommitter) -> None:
    gate = threading.Event()
    committer.submit(Append("first", gate=gate))
    before, bad, worse, after = (
        committer.submit(commit) for commit in (Append("before"), Explode(), Explode(), Append("after"))
    )
    gate.set()
    before.result(5)
    after.result(5)
    for voided in (bad, worse):
        with pytest.raises(LookupError):
            voided.result(5)
    assert stored(journal) == ["first", "before", "after"]


def test_nobody_hears_of_what_is_not_durable_yet(journal: MemoryJournal, committer: GroupCommitter) -> None:
    gate = threading.Event()
    committer.submit(Append("first", gate=gate))
    kept = committer.submit(Append("kept"))
    heard: list[list[str]] = []
    committer.submit(Explode()).add_done_callback(lambda _future: heard.append(stored(journal)))
    gate.set()
    kept.result(5)
    committer.close()
    assert heard == [["first", "kept"]]


def test_what_voided_a_commit_counts_for_nothing_when_the_rest_fails(
    journal: MemoryJournal, committer: GroupCommitter
) -> None:
    gate = threading.Event()
    committer.submit(Append("first", gate=gate))
    voided, last = committer.submit(Explode()), committer.submit(Gone())
    gate.set()
    for future in (voided, last):
        with pytest.raises(HeadwaterError, match="cannot take rows"):
            future.result(5)


def test_a_journal_that_cannot_write_fails_everybody_once_and_recovers(
    journal: MemoryJournal, committer: GroupCommitter
) -> None:
    journal.fail_with = HeadwaterError("storage_exhausted")
    futures = [committer.submit(Append()) for _ in range(3)]
    for future in futures:
        with pytest.raises(HeadwaterError, match="nearly full"):
            future.result(5)
    journal.fail_with = None
    committer.submit(Append("later")).result(5)
    assert stored(journal) == ["later"]


def test_a_commit_cancelled_before_its_turn_is_not_written(journal: MemoryJournal, committer: GroupCommitter) -> None:
    gate = threading.Event()
    first = committer.submit(Append("first", gate=gate))
    while committer.waiting:
        time.sleep(0.001)
    cancelled = committer.submit(Append("cancelled"))
    kept = committer.submit(Append("kept"))
    assert cancelled.cancel()
    assert not first.cancel()
    gate.set()
    kept.result(5)
    assert stored(journal) == ["first", "kept"]


def test_too_many_waiting_are_refused_before_they_are_queued(journal: MemoryJournal) -> None:
    committer = GroupCommitter(journal, max_waiting=2)
    gate = threading.Event()
    committer.submit(Append(gate=gate))
    while committer.waiting:
        time.sleep(0.001)
    committer.submit(Append())
    committer.submit(Append())
    with pytest.raises(HeadwaterError) as refused:
        committer.submit(Append())
    assert refused.value.code == "overloaded"
    assert refused.value.retry_after_seconds == 1
    gate.set()
    committer.close()


def test_closing_writes_what_waits_and_refuses_what_comes_later(journal: MemoryJournal) -> None:
    committer = GroupCommitter(journal, max_group=3)
    futures = [committer.submit(Append(str(index))) for index in range(10)]
    committer.close()
    committer.close()
    assert all(future.done() and future.exception() is None for future in futures)
    assert len(stored(journal)) == 10
    with pytest.raises(HeadwaterError, match="stopping"):
        committer.submit(Append())
