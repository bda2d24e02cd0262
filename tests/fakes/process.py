"""A services process in memory: fake control, journal, lake and service behind a real door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.types import Message
from tests.fakes.control import FakeControl
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_lake import MemoryLake

from headwater.core.setting_sections import InferenceSettings
from headwater.core.settings import Settings
from headwater.services.kit.application import compose
from headwater.services.kit.asgi import Door
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import Service


@dataclass
class Process:
    runtime: ProcessRuntime
    door: Door
    http: httpx.AsyncClient
    journal: MemoryJournal
    services: list[Service]


@contextlib.asynccontextmanager
async def running(
    home: Path, control: FakeControl, *create: Callable[[ProcessRuntime], Service], journal: MemoryJournal | None = None
) -> AsyncIterator[Process]:
    """Run a process through its whole life. Predictions are logged in it: a sidecar would not see its journal."""
    journal = journal or MemoryJournal()
    settings = Settings(home=home, inference=InferenceSettings(sidecar=False))
    runtime = ProcessRuntime(settings, journal=journal, lake=MemoryLake())
    runtime.home.prepare()
    services = [make(runtime) for make in create]
    door = compose(runtime, services, transport=control.transport())
    async with alive(door):
        transport = httpx.ASGITransport(door, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://services") as http:
            yield Process(runtime, door, http, journal, services)


@contextlib.asynccontextmanager
async def alive(door: Door) -> AsyncIterator[None]:
    """Run the lifespan of an application, as a server does."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.create_task(_lifespan(door, inbox, outbox))
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
        await task


async def _lifespan(door: Door, inbox: asyncio.Queue[Message], outbox: asyncio.Queue[Message]) -> None:
    await door({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, outbox.put)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something to become true, with the patience that a busy machine needs."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what tests wait for has no event
            await asyncio.sleep(0.005)
