from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import Ingest, ingesting

from headwater.core.errors import HeadwaterError
from headwater.services.ingest import pipeline
from headwater.services.ingest.segment import Segment
from headwater.services.ingest.verdict import Submission


@pytest_asyncio.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    async with ingesting(tmp_path, make_dataset(make_contract()), make_dataset(make_contract("events"))) as running:
        yield running


class Gate:
    """Holds the journal until it is opened, and counts the transactions."""

    def __init__(self, ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.transactions = 0
        write = ingest.runtime.journal.write

        def gated(change: Any) -> Any:
            self.entered.set()
            assert self.open.wait(10)
            self.transactions += 1
            return write(change)

        monkeypatch.setattr(ingest.runtime.journal, "write", gated)


async def test_requests_that_wait_are_committed_together_each_with_its_own_verdict(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(ingest, monkeypatch)
    first = asyncio.create_task(ingest.send([{"id": "first"}]))
    await asyncio.to_thread(gate.entered.wait, 5)
    rest = [
        asyncio.create_task(
            ingest.send(
                [{"id": f"{n}-{row}", "qty": -1 if (n + row) % 3 == 0 else row} for row in range(n + 1)],
                "orders" if n % 4 else "events",
            )
        )
        for n in range(40)
    ]
    await asyncio.sleep(0.2)
    gate.open.set()
    replies = await asyncio.gather(*rest)
    await first
    assert gate.transactions < 8
    for n, reply in enumerate(replies):
        bad = [row for row in range(n + 1) if (n + row) % 3 == 0]
        body = reply.json()
        assert [error["row"] for error in body["errors"]] == bad
        assert body["counts"]["accepted"] == n + 1 - len(bad)
        span = body["journal"]
        if body["counts"]["accepted"]:
            rows = ingest.stored("orders" if n % 4 else "events")[span["first_seq"] - 1 : span["last_seq"]]
            assert [row["id"] for row in rows] == [f"{n}-{row}" for row in range(n + 1) if row not in bad]


async def test_rows_of_a_client_that_goes_away_are_committed_all_the_same(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(ingest, monkeypatch)
    gone = asyncio.create_task(ingest.send([{"id": "gone"}]))
    await asyncio.to_thread(gate.entered.wait, 5)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.open.set()
    await ingest.send([{"id": "next"}])
    assert [row["id"] for row in ingest.stored()] == ["gone", "next"]
    assert ingest.service.admission.in_flight_bytes == 0


@pytest.mark.parametrize("code", ["journal_unavailable", "storage_exhausted"])
async def test_a_failed_commit_fails_every_request_of_its_group_and_none_after_it(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    with monkeypatch.context() as patch:

        def fail(_change: object) -> None:
            raise HeadwaterError(code, retry_after_seconds=7)

        patch.setattr(ingest.runtime.journal, "write", fail)
        replies = await asyncio.gather(*(ingest.send([{"id": f"{n}"}, {"qty": -1}]) for n in range(20)))
        assert {reply.status_code for reply in replies} == {503}
        assert {reply.json()["code"] for reply in replies} == {code}
        assert {reply.headers["retry-after"] for reply in replies} == {"7"}
    assert ingest.stored() == []
    assert await ingest.groups() == []
    assert (await ingest.send([{"id": "next"}])).status_code == 200


async def test_a_request_that_cannot_be_encoded_fails_alone(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    make = pipeline.make_segment

    def explode(submissions: Sequence[Submission]) -> Segment:
        if any(submission.received == 13 for submission in submissions):
            raise RuntimeError("a bug")
        return make(submissions)

    monkeypatch.setattr(pipeline, "make_segment", explode)
    gate = Gate(ingest, monkeypatch)
    first = asyncio.create_task(ingest.send([{"id": "x"}]))
    await asyncio.to_thread(gate.entered.wait, 5)
    tasks = [asyncio.create_task(ingest.send([{"id": f"{n}-{row}"} for row in range(n)])) for n in range(10, 17)]
    await asyncio.sleep(0.1)
    gate.open.set()
    replies = await asyncio.gather(*tasks)
    await first
    assert [reply.status_code for reply in replies] == [200, 200, 200, 500, 200, 200, 200]
    assert replies[3].json()["code"] == "internal"
    assert "a bug" not in replies[3].text


async def test_rounds_hold_about_as_many_rows_as_they_may(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_GROUP_ROWS", 10)
    monkeypatch.setattr(pipeline, "INLINE_BELOW_ROWS", 1)
    sizes: list[int] = []
    make = pipeline.make_segment

    def watch(submissions: Sequence[Submission]) -> Segment:
        sizes.append(sum(submission.received for submission in submissions))
        return make(submissions)

    monkeypatch.setattr(pipeline, "make_segment", watch)
    await asyncio.gather(*(ingest.send([{"id": f"{n}-{row}"} for row in range(4)]) for n in range(20)))
    assert (await ingest.send([{"id": f"{row}"} for row in range(50)])).status_code == 200
    assert sum(sizes) == 130
    assert max(sizes[:-1]) <= 10


async def test_few_rows_gather_while_a_round_is_on_its_way_and_go_when_it_ends(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []
    make = pipeline.make_segment

    def watch(submissions: Sequence[Submission]) -> Segment:
        rounds.append(len(submissions))
        return make(submissions)

    monkeypatch.setattr(pipeline, "make_segment", watch)
    replies = await asyncio.gather(*(ingest.send([{"id": f"{n}"}]) for n in range(200)))
    assert [reply.status_code for reply in replies] == [200] * 200
    assert sum(rounds) == 200
    assert len(rounds) < 200


async def test_a_stopping_service_commits_what_waits_and_takes_nothing_more(tmp_path: Path) -> None:
    async with ingesting(tmp_path, make_dataset(make_contract())) as ingest:
        waiting = [asyncio.create_task(ingest.send([{"id": f"{n}"}])) for n in range(10)]
        await asyncio.sleep(0)
        while len(ingest.service.pipeline._gathered) + len(ingest.stored()) < 1:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)
        await ingest.service.pipeline.stop()
        replies = await asyncio.gather(*waiting)
        accepted = [reply for reply in replies if reply.status_code == 200]
        assert {reply.status_code for reply in replies} <= {200, 503}
        assert len(ingest.stored()) == len(accepted)
        assert (await ingest.send([{"id": "late"}])).json()["code"] == "overloaded"
        assert "encoder" in ingest.service.problems()[0]


async def test_a_large_body_does_not_hold_up_small_ones(ingest: Ingest) -> None:
    rows = b"\n".join(b'{"id":"%d","qty":1,"meta":{"a":[1,2,3]}}' % n for n in range(60_000))
    large = asyncio.create_task(ingest.send(rows))
    await asyncio.sleep(0.01)
    longest = 0.0
    loop = asyncio.get_running_loop()
    while not large.done():
        began = loop.time()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - began)
    assert (await large).json()["counts"]["accepted"] == 60_000
    assert longest < 0.5


async def test_answered_rows_are_let_go_at_once_without_the_garbage_collector(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[weakref.ref[Any]] = []
    make = pipeline.make_segment

    def watch(submissions: Sequence[Submission]) -> Segment:
        kept.extend(weakref.ref(submission.batch) for submission in submissions)
        return make(submissions)

    monkeypatch.setattr(pipeline, "make_segment", watch)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            assert (
                await ingest.send([{"id": "a"}, {"qty": -1}], headers={"idempotency-key": f"k{len(kept)}"})
            ).status_code
        await asyncio.sleep(0.05)
        alive = [reference for reference in kept[:-1] if reference() is not None]
    finally:
        gc.enable()
    assert len(kept) == 5
    assert alive == []
