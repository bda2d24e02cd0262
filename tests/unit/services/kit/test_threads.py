from __future__ import annotations

import asyncio
import threading

import pytest

from headwater.core.errors import HeadwaterError
from headwater.services.kit.threads import Threads


async def test_long_work_leaves_the_threads_of_everybody_else_alone_and_has_a_bounded_queue() -> None:
    threads = Threads("long", workers=1, waiting=1)
    end = threading.Event()
    under_way = [asyncio.create_task(threads.run(end.wait)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(HeadwaterError, match="long") as caught:
        await threads.run(end.wait)
    assert caught.value.retry_after_seconds
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(lambda: "free") == "free"

    under_way[0].cancel()
    await asyncio.gather(under_way[0], return_exceptions=True)
    with pytest.raises(HeadwaterError):  # whoever asked has gone, but the thread is still busy
        await threads.run(end.wait)
    end.set()
    assert await under_way[1] is True
    assert await threads.run(lambda: 1) == 1
    threads.close()


async def test_an_error_reaches_the_caller_and_the_place_is_free_again() -> None:
    threads = Threads("t", workers=1, waiting=0)

    def fail() -> None:
        raise ValueError("so")

    for _ in range(3):
        with pytest.raises(ValueError, match="so"):
            await threads.run(fail)
    threads.close()
