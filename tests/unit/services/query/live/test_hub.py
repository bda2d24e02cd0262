from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.process import until
from tests.fakes.query_process import asking, endpoint, flights
from tests.fakes.watching import COUNTS, hub_of, watching

BOTH = "/*\nlive: {min_interval_seconds: 0.1}\n*/ SELECT (SELECT count(*) FROM flights) AS n, name FROM secrets"


async def test_who_comes_while_commits_are_looked_for_breaks_no_look(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        asking(tmp_path, endpoint("counts", COUNTS), endpoint("both", BOTH)) as asked,
        contextlib.AsyncExitStack() as stack,
    ):
        hub = hub_of(asked)
        look, waiting, going_on = hub._commits.look, asyncio.Event(), asyncio.Event()

        async def slow_look(streams: Iterable[str]) -> Any:
            found = await look(streams)
            if asked.sealed:
                waiting.set()
                await going_on.wait()
            return found

        hub._works = replace(hub._works, look=look)
        hub._commits.look = slow_look  # type: ignore[method-assign] # as a busy disk would have it
        watcher = await stack.enter_async_context(watching(asked.door, "counts"))
        await watcher.next()
        asked.seal("flights", flights(0, 3))
        await asyncio.wait_for(waiting.wait(), 20)
        other = await stack.enter_async_context(watching(asked.door, "both"))
        await until(lambda: len(hub._groups) == 2)
        going_on.set()
        assert len((await watcher.next()).data["upsert" if watcher.events[-1].kind == "patch" else "data"]) == 3
        assert (await other.next()).kind == "snapshot"
    assert "live_watch_failed" not in caplog.text
