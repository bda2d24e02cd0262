"""A services process with every service and one of everything, asked below HTTP: byte by byte, as a server is asked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from tests.builders.features import view_of
from tests.builders.flags import make_flag
from tests.builders.models import make_model, make_version
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import TOKEN, FakeControl
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.process import alive, until
from tests.fakes.query_process import BY_CARRIER, ENVIRONMENT, FLIGHTS, SECRETS, dataset, endpoint, flights

from headwater.core.setting_sections import InferenceSettings, QuerySettings
from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureSpec
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.services import app as services_app
from headwater.services.kit.application import compose
from headwater.services.kit.asgi import Door
from headwater.services.kit.runtime import ProcessRuntime

AUTHORIZED: Final = (b"authorization", f"Bearer {KEY}".encode())
JSON: Final = (b"content-type", b"application/json")
POWERS: Final = (
    "dataset.read:*", "dataset.ingest:*", "endpoint.invoke:*", "sql.run:*", "model.read:*", "model.invoke:*",
    "quarantine.read:*", "quarantine.resolve:*", "feature.read:*", "outcome.write:*", "flag.evaluate:*",
)  # fmt: skip
TYPED: Final = """/*
parameters:
  day: {type: date, default: today}
  n: {type: integer, ge: 1, le: 100, default: 5}
  x: {type: number, default: 0}
  until: {type: timestamp}
  ok: {type: boolean, default: true}
*/
SELECT id, carrier FROM flights WHERE $ok AND id > $x AND ($until IS NULL OR flights.at < $until) AND $day IS NOT NULL
ORDER BY id LIMIT $n
"""
#: Names for the parts of addresses.
NAMES: Final = {
    "dataset": "flights", "endpoint": "by_carrier", "model": "delay", "version": "1", "view": "totals",
    "environment_id": ENVIRONMENT, "endpoint_name": "by_carrier", "key": "new-home", "verdict": "discard",
}  # fmt: skip


@dataclass
class Answer:
    """What came back, and how long it took."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    seconds: float = 0.0

    def header(self, name: bytes) -> bytes:
        return dict(self.headers).get(name, b"")


@dataclass
class Plane:
    """The running process."""

    door: Door
    home: Path

    def routes(self) -> Iterator[tuple[str, str]]:
        """Yield method and template of every route, of the lanes and of hot routes too."""
        app: Any = self.door.app
        yield from sorted({(method, path) for path, methods in _routes(app.router) for method in methods})

    def operations(self) -> dict[str, dict[str, Any]]:
        """Return what the OpenAPI document says of each path."""
        app: Any = self.door.app
        paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
        return paths

    async def ask(
        self,
        method: str,
        path: str,
        query: bytes = b"",
        body: bytes = b"",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> Answer:
        """Send one request, whatever its parts are; a stream of events is left after its first."""
        raw = path.encode("utf-8", "surrogateescape")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote_to_bytes(raw).decode("utf-8", "replace"), "raw_path": raw, "root_path": "",
            "query_string": query, "headers": [self.key_for(path), JSON] if headers is None else headers,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        exchange = _Exchange(body)
        began = time.perf_counter()
        await self.door(scope, exchange.receive, exchange.send)
        exchange.answer.seconds = time.perf_counter() - began
        return exchange.answer

    def key_for(self, path: str) -> tuple[bytes, bytes]:
        """Return the header of who may ask: a key that may do all, or control for what is control's alone."""
        return (b"authorization", f"Bearer {TOKEN}".encode()) if path.startswith("/internal/") else AUTHORIZED


class _Exchange:
    """One request's body and what is answered to it."""

    def __init__(self, body: bytes) -> None:
        self.answer = Answer()
        self._body: bytes | None = body
        self._is_left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._is_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.answer.status, self.answer.headers = message["status"], list(message["headers"])
            return
        self.answer.body += message.get("body", b"")
        if not message.get("more_body") or self.answer.header(b"content-type").startswith(b"text/event-stream"):
            self._is_left.set()


@contextlib.asynccontextmanager
async def whole_plane(home: Path) -> AsyncIterator[Plane]:
    """Run every service over an environment that has one of everything."""
    control = FakeControl()
    settings = Settings(
        home=home,
        query=QuerySettings(sql_memory_bytes=1 << 28, memory_limit_bytes=1 << 28, sql_timeout_seconds=2.0),
        inference=InferenceSettings(sidecar=False),
    )
    runtime = ProcessRuntime(settings, journal=MemoryJournal(), lake=open_lake(settings))
    runtime.home.prepare()
    control.establish_trust(runtime.home)
    control.publish(
        make_snapshot(
            keys={KEY: make_key(*POWERS)},
            datasets={one.name: dataset(one) for one in (FLIGHTS, SECRETS)},
            endpoints={"by_carrier": endpoint("by_carrier", BY_CARRIER), "typed": endpoint("typed", TYPED)},
            models=[make_model(make_version(settings))],
            features={
                "totals": view_of("totals", FeatureSpec(name="last", type="number", kind="column", column="delay"))
            },
            flags={"new-home": make_flag()},
        )
    )
    made = [services_app._create(name, runtime) for name in services_app.SERVICES]
    door = compose(runtime, made, transport=control.transport())
    async with alive(door):
        await until(lambda: bool(runtime.environments))
        runtime.lake.append(f"{ENVIRONMENT}/flights", flights(0, 100), AppTransaction("test", 1))
        yield Plane(door, home)


def _routes(router: Any, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    for route in router.routes:
        if getattr(route, "methods", None):
            yield prefix + route.path, route.methods
        elif hasattr(route, "original_router"):
            yield from _routes(route.original_router, prefix + getattr(router, "prefix", ""))
