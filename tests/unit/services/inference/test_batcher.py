from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.services.inference.batch import Inputs, Row, json_texts
from headwater.services.inference.batcher import Doubtful, MicroBatcher


class Doubling:
    """An executor that doubles its one field, notes how many rows each run had, and fails at a given value."""

    output_names = ("score",)
    takes_matrix = True
    dtype = np.dtype(np.float32)
    limits = (3.4e38,)

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.fails_at: float | None = None

    def run_matrix(self, matrix: NDArray[Any]) -> list[NDArray[Any]]:
        self.runs.append(len(matrix))
        if self.fails_at is not None and (matrix == self.fails_at).any():
            raise HeadwaterError("model_failed")
        return [matrix[:, 0] * 2]

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> list[NDArray[Any]]:
        raise NotImplementedError


def rows(*values: Row, is_exact: bool = False) -> Inputs:
    return Inputs(values, is_exact=is_exact)


@pytest.fixture
def executor() -> Doubling:
    return Doubling()


async def test_requests_of_one_turn_share_a_run_and_get_their_own_rows(executor: Doubling) -> None:
    batcher = MicroBatcher(executor)
    shares = await asyncio.gather(*(batcher.submit(rows((index,), (index + 0.5,))) for index in range(10)))
    assert executor.runs == [20]
    for index, share in enumerate(shares):
        assert share.batch.outputs[0][share.start : share.stop].tolist() == [index * 2, index * 2 + 1]


async def test_a_lone_request_runs_without_waiting(executor: Doubling) -> None:
    batcher = MicroBatcher(executor)
    began = time.monotonic()
    await batcher.submit(rows((1,)))
    assert time.monotonic() - began < 0.05


async def test_a_batch_has_bounds_and_the_rest_is_the_next_one(executor: Doubling) -> None:
    batcher = MicroBatcher(executor, ServingSpec(max_batch_rows=4))
    await asyncio.gather(*(batcher.submit(rows(*[(1,)] * 3)) for _ in range(3)), batcher.submit(rows(*[(1,)] * 9)))
    assert executor.runs == [3, 3, 3, 9]


async def test_only_the_request_that_breaks_the_model_fails(executor: Doubling) -> None:
    executor.fails_at = 13
    batcher = MicroBatcher(executor)
    futures = [batcher.submit(rows((value,))) for value in (1, 13, 2)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(result, HeadwaterError) for result in results] == [False, True, False]


async def test_who_no_longer_waits_is_not_run(executor: Doubling) -> None:
    batcher = MicroBatcher(executor)
    late = batcher.submit(rows((1,)), deadline=time.monotonic() - 1)
    gone = batcher.submit(rows((2,)))
    gone.cancel()
    await batcher.submit(rows((3,)))
    with pytest.raises(HeadwaterError, match="deadline"):
        await late
    assert executor.runs == [1]


async def test_the_queue_is_full_at_its_bound_and_empties(executor: Doubling) -> None:
    batcher = MicroBatcher(executor, ServingSpec(max_waiting_rows=3))
    future = batcher.submit(rows(*[(1,)] * 3))
    assert batcher.is_full
    await future
    assert not batcher.is_full


@pytest.mark.parametrize("value", [2.0**53, -(2.0**60), 1e300])
async def test_large_numbers_are_doubted_until_they_were_checked(executor: Doubling, value: float) -> None:
    batcher = MicroBatcher(executor)
    doubted, fine = batcher.submit(rows((value,))), batcher.submit(rows((2.0**53 - 1,)))
    with pytest.raises(Doubtful):
        await doubted
    await fine
    if value < 1e38:
        share = await batcher.submit(rows((value,), is_exact=True))
        assert share.batch.outputs[0][0] == np.float32(value) * 2


def test_outputs_become_json_of_their_shortest_digits() -> None:
    assert json_texts(np.array([0.1, 2, np.nan, np.inf], dtype=np.float32)) == [b"0.1", b"2.0", b"null", b"null"]
    assert json_texts(np.array([1, -2], dtype=np.int64)) == [b"1", b"-2"]
    assert json_texts(np.array([True, False])) == [b"true", b"false"]
    assert json_texts(np.array(['a"b', "c,d"], dtype=object)) == [b'"a\\"b"', b'"c,d"']
    assert json_texts(np.array([[0.1, 0.2], [3, 4]], dtype=np.float32)) == [b"[0.1,0.2]", b"[3.0,4.0]"]
    assert json_texts(np.array([[["x"], ["y"]]], dtype=object)) == [b'[["x"],["y"]]']


async def test_a_turn_that_breaks_does_not_stop_the_queue(executor: Doubling) -> None:
    told: list[int] = []

    def ran(count: int, _seconds: float, _waited: float) -> None:
        told.append(count)
        if len(told) == 1:
            raise ZeroDivisionError

    batcher = MicroBatcher(executor, ServingSpec(max_batch_rows=1), ran)
    broken: list[BaseException | None] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, found: broken.append(found.get("exception")))
    first, second = batcher.submit(rows((1,))), batcher.submit(rows((2,)))
    async with asyncio.timeout(1):
        await asyncio.gather(first, second)
        assert (await batcher.submit(rows((3,)))).batch.outputs[0].tolist() == [6]
    assert [type(error) for error in broken] == [ZeroDivisionError]
    assert batcher.is_idle
