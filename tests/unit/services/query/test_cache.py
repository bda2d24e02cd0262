from __future__ import annotations

import asyncio

import pytest

from headwater.services.query.cache import Flights, Kept, ResultCache


def test_the_cache_holds_no_more_bytes_than_it_may_and_lets_go_of_what_was_unused_longest() -> None:
    cache = ResultCache(max_bytes=3 * (100 + 512))
    for tag in (b"a", b"b", b"c"):
        cache.put(tag, Kept(b"x" * 100, 1))
    assert cache.find(b"a") is not None
    cache.put(b"d", Kept(b"x" * 100, 1))
    assert cache.find(b"b") is None
    assert all(cache.find(tag) is not None for tag in (b"a", b"c", b"d"))


def test_a_body_larger_than_the_cache_is_not_kept() -> None:
    cache = ResultCache(max_bytes=1_000)
    cache.put(b"a", Kept(b"x" * 2_000, 1))
    assert cache.find(b"a") is None


class Work:
    """Something to wait for, which knows how often it ran."""

    def __init__(self) -> None:
        self.began = 0
        self.ended = asyncio.Event()
        self.cancelled = 0

    async def __call__(self) -> int:
        self.began += 1
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.began


async def test_those_who_ask_for_the_same_share_one_run_and_one_owns_it() -> None:
    flights: Flights[int] = Flights(lambda _: None)
    work = Work()
    tasks = [asyncio.create_task(flights.join(b"k", work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.ended.set()
    results = await asyncio.gather(*tasks)
    assert work.began == 1
    assert sorted(owner for _, owner in results) == [False] * 4 + [True]
    assert (await flights.join(b"k", work))[0] == 2


async def test_work_goes_on_while_anybody_waits_and_is_cancelled_when_nobody_does() -> None:
    discarded: list[int] = []
    flights: Flights[int] = Flights(discarded.append)
    work = Work()
    first, second = (asyncio.create_task(flights.join(b"k", work)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert [work.began, work.cancelled] == [1, 0]
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert [work.began, work.cancelled] == [1, 1]
    assert not discarded


async def test_a_failure_reaches_everybody_and_is_not_kept() -> None:
    flights: Flights[int] = Flights(lambda _: None)

    async def fail() -> int:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    for _ in range(2):
        results = await asyncio.gather(*(flights.join(b"k", fail) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(result, ValueError) for result in results)


async def test_what_nobody_took_is_given_back() -> None:
    discarded: list[int] = []
    flights: Flights[int] = Flights(discarded.append)

    async def stubborn() -> int:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return 7  # it was done at the very moment it was cancelled
        return 0

    task = asyncio.create_task(flights.join(b"k", stubborn))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    assert discarded == [7]
