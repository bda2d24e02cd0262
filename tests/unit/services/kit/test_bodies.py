"""A body is read once it is known who sends it, and never more of it than the route can use."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from tests.builders.datasets import make_contract, make_dataset
from tests.builders.snapshots import KEY
from tests.fakes.control import TOKEN
from tests.fakes.ingest import ENVIRONMENT, ingesting
from tests.fakes.memory_journal import MemoryJournal

from headwater.core.settings import Settings
from headwater.engines.lake import open_lake
from headwater.services.app import SERVICES
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import Service

REPLAY = "/v1/datasets/orders/quarantine/replay"
INTERNAL = f"/internal/v1/quarantine/{ENVIRONMENT}/orders/replay"
PIECE = b" " * 65_536


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "custom"])  # a project's own are its own
def test_no_route_has_its_body_read_by_the_framework(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path)
    runtime = ProcessRuntime(settings, journal=MemoryJournal(), lake=open_lake(settings))
    service: Service = importlib.import_module(f"headwater.services.{name}").create(runtime)
    runtime.close()
    routers = [router for router in (service.router(), service.internal_router()) if router is not None]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert routes
    assert [route.path for route in routes if route.body_field is not None] == []


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        (REPLAY, "hw_unknown", 401, "unauthenticated"),
        (INTERNAL, "unknown", 401, "unauthenticated"),
        (REPLAY, KEY, 413, "payload_too_large"),
        (INTERNAL, TOKEN, 413, "payload_too_large"),
    ],
)
async def test_an_endless_body_is_refused_early(tmp_path: Path, path: str, key: str, status: int, code: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            assert sent < 1 << 20, "the whole of it is being read"
            sent += len(PIECE)
            yield PIECE

    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with ingesting(tmp_path, make_dataset(make_contract())) as ingest:
        reply: httpx.Response = await ingest.http.post(path, content=endless(), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert sent == 0 if status != 413 else sent <= 2 * len(PIECE)
