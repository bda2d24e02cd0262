"""A client that watches a live result: an open ASGI request, its events as they come, and the rows they make."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp
from tests.builders.snapshots import KEY, digest, make_key
from tests.fakes.process import until
from tests.fakes.query_process import ENVIRONMENT, Asked

from headwater.client.live import Table
from headwater.core.policies import PolicySpec
from headwater.core.snapshot import KeySpec
from headwater.services.query.live.hub import Hub

COUNTS = """/*
key: [carrier]
parameters: {carrier: {type: string}}
live: {min_interval_seconds: 0.1}
*/
SELECT carrier, count(*) AS flights FROM flights
WHERE $carrier IS NULL OR carrier = $carrier GROUP BY carrier ORDER BY carrier
"""
OTHER = "hw_other"


@dataclass(frozen=True)
class Told:
    """An event that came."""

    kind: str
    id: str | None
    data: Any


@dataclass
class Watcher:
    """What one client has received so far. ``taking`` is cleared by a client that reads nothing for a while."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    events: list[Told] = field(default_factory=list)
    comments: int = 0
    retry: int | None = None
    is_complete: bool = False
    table: Table = field(default_factory=Table)
    taking: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _rest: bytes = b""
    _read: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.table.rows

    @property
    def problem(self) -> dict[str, Any]:
        """Return the body of an answer that is no stream."""
        document: dict[str, Any] = json.loads(self._rest)
        return document

    async def next(self, seconds: float = 20.0) -> Told:
        """Return the next event that was not returned before."""
        async with asyncio.timeout(seconds):
            while len(self.events) <= self._read:
                self._news.clear()
                await self._news.wait()
        self._read += 1
        return self.events[self._read - 1]

    async def nothing(self, seconds: float = 0.3) -> None:
        """Hold that no event comes for a while."""
        await asyncio.sleep(seconds)
        assert len(self.events) == self._read, self.events[self._read :]

    async def send(self, message: Any) -> None:
        await self.taking.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self._rest += message.get("body", b"")
        self.is_complete = not message.get("more_body", False)
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            self._parse()
        self._news.set()

    def _parse(self) -> None:
        *texts, self._rest = self._rest.split(b"\n\n")
        for text in texts:
            fields: dict[str, str] = {}
            for line in text.decode().split("\n"):
                name, _, value = line.partition(":")
                if not name:
                    self.comments += 1
                fields[name] = value.removeprefix(" ")
            if "retry" in fields:
                self.retry = int(fields["retry"])
            if "data" in fields:
                told = Told(fields["event"], fields.get("id"), json.loads(fields["data"]))
                self.table.apply(told.kind, told.data)
                self.events.append(told)


@contextlib.asynccontextmanager
async def watching(
    door: ASGIApp,
    endpoint: str,
    *,
    key: str | None = KEY,
    last_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    table: Table | None = None,
    query: str | None = None,
    **parameters: Any,
) -> AsyncIterator[Watcher]:
    """Watch an endpoint until the block ends, and then go, as a browser's page does."""
    given = {**({"authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
    given |= {"last-event-id": last_id} if last_id else {}
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/v1/endpoints/{endpoint}/live",
        "query_string": (query or urlencode(parameters)).encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
    }
    watcher, left = Watcher(table=table or Table()), asyncio.Event()
    watcher.taking.set()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    request: asyncio.Task[Any] = asyncio.create_task(_ask(door, scope, receive, watcher.send))
    try:
        yield watcher
    finally:
        left.set()
        watcher.taking.set()
        await asyncio.wait_for(request, 20)


async def _ask(door: ASGIApp, scope: Any, receive: Any, send: Any) -> None:
    await door(scope, receive, send)


def hub_of(asked: Asked) -> Hub:
    return asked.service._live._hub


async def publish(asked: Asked, **changes: Any) -> None:
    """Put a changed snapshot in force; ``keys`` are by their text."""
    snapshot = asked.runtime.environments[ENVIRONMENT].snapshot
    if "keys" in changes:
        changes["keys"] = {digest(text): key for text, key in changes["keys"].items()}
    number = snapshot.number + 1
    asked.control.publish(snapshot.model_copy(update={"number": number, **changes}))
    await until(lambda: asked.runtime.environments[ENVIRONMENT].snapshot.number == number)


def own_carrier(name: str) -> PolicySpec:
    return PolicySpec(
        id=f"pol_{name}",
        name=name,
        resource="dataset:flights",
        priority=1,
        principals=("everyone",),
        row_filter="carrier = caller.carrier",
        attributes={"carrier": "string"},
    )


def keyed(key_id: str, **more: Any) -> KeySpec:
    return make_key("endpoint.invoke:*", key_id=key_id).model_copy(update=more)
