from __future__ import annotations

import asyncio
import time

import pytest
from tests.builders.fleet import Remote

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.services.inference.async_batcher import AsyncBatcher
from headwater.services.inference.batch import Doubtful, Inputs, Share


def rows(*values: float) -> Inputs:
    return Inputs([(value, 0.0) for value in values])


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_of_one_turn_share_a_run_and_the_rest_gathers_while_it_is_under_way() -> None:
    remote = Remote(number=10)
    remote.gate.clear()
    batcher = AsyncBatcher(remote)
    first = [batcher.submit(rows(value)) for value in (1, 2)]
    await settle()
    later = [batcher.submit(rows(value, value + 0.5)) for value in (3, 4, 5)]
    await settle()
    assert remote.runs == [[1, 2]]
    assert not batcher.is_idle
    remote.gate.set()
    shares = await asyncio.gather(*first, *later)
    assert remote.runs == [[1, 2], [3, 3.5, 4, 4.5, 5, 5.5]]
    assert [share.batch.outputs[0][share.start : share.stop].tolist() for share in shares] == [
        [10],
        [20],
        [30, 35],
        [40, 45],
        [50, 55],
    ]
    await settle()
    assert batcher.is_idle


async def test_as_many_runs_are_under_way_as_keep_it_busy() -> None:
    remote = Remote(depth=3)
    remote.gate.clear()
    batcher = AsyncBatcher(remote, ServingSpec(max_batch_rows=2))
    futures = [batcher.submit(rows(value)) for value in range(12)]
    await settle()
    assert remote.runs == [[0, 1], [2, 3], [4, 5]]
    remote.gate.set()
    await asyncio.gather(*futures)
    assert remote.most_at_once == 3
    assert [value for run in remote.runs for value in run] == list(range(12))


async def test_a_wait_gathers_what_comes_within_it_unless_a_batch_is_full_before() -> None:
    remote = Remote()
    batcher = AsyncBatcher(remote, ServingSpec(batch_wait_us=30_000, max_batch_rows=4))
    began = time.monotonic()
    first = batcher.submit(rows(1))
    await asyncio.sleep(0.005)
    second = batcher.submit(rows(2))
    await asyncio.gather(first, second)
    assert remote.runs == [[1, 2]]
    assert time.monotonic() - began >= 0.025
    began = time.monotonic()
    await asyncio.gather(*(batcher.submit(rows(value)) for value in range(4)))
    assert time.monotonic() - began < 0.025


async def test_only_the_rows_that_a_model_dislikes_fail() -> None:
    remote = Remote()
    remote.fails_at = 13
    batcher = AsyncBatcher(remote)
    results = await asyncio.gather(*(batcher.submit(rows(value)) for value in (1, 13, 2)), return_exceptions=True)
    assert [isinstance(result, Share) for result in results] == [True, False, True]
    assert isinstance(results[1], HeadwaterError)
    assert results[1].code == "model_failed"


async def test_a_model_that_is_away_is_not_asked_once_for_each_request() -> None:
    remote = Remote()
    remote.fails_at, remote.error = 13, HeadwaterError("model_unavailable", retry_after_seconds=1)
    batcher = AsyncBatcher(remote)
    results = await asyncio.gather(*(batcher.submit(rows(value)) for value in (1, 13, 2)), return_exceptions=True)
    assert {getattr(result, "code", None) for result in results} == {"model_unavailable"}
    assert len(remote.runs) == 1


async def test_large_numbers_are_doubted_before_anything_runs() -> None:
    remote = Remote()
    with pytest.raises(Doubtful):
        await AsyncBatcher(remote).submit(rows(2.0**53))
    assert remote.runs == []


async def test_who_waits_in_vain_is_told_at_the_deadline_and_what_still_queues_is_never_run() -> None:
    remote = Remote()
    remote.gate.clear()
    batcher = AsyncBatcher(remote)
    running = batcher.submit(rows(1), deadline=time.monotonic() + 0.03)
    await settle()
    queued = batcher.submit(rows(2), deadline=time.monotonic() + 0.03)
    with pytest.raises(HeadwaterError) as late:
        await running
    assert late.value.code == "model_timeout"
    with pytest.raises(HeadwaterError, match="it was not run") as late:
        await queued
    assert late.value.code == "overloaded"
    remote.gate.set()
    await batcher.submit(rows(3))
    assert remote.runs == [[1], [3]]


async def test_the_wait_is_estimated_from_what_runs_took() -> None:
    remote = Remote()
    batcher = AsyncBatcher(remote, ServingSpec(max_batch_rows=10))
    assert batcher.wait_seconds() == 0
    for size in (1, 10) * 20:
        batcher.pace.observe(size, 0.010 + 0.001 * size)
    remote.gate.clear()
    futures = [batcher.submit(rows(*range(10))) for _ in range(3)]
    await settle()
    assert batcher.wait_seconds() == pytest.approx(3 * 0.020, rel=0.05)
    remote.gate.set()
    await asyncio.gather(*futures)
