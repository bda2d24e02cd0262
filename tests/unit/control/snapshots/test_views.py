from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, connection
from tests.builders.control import make_environment, make_key

from headwater.control import configuration
from headwater.control.access.actions import revoke_key
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.snapshots.models import Snapshot as Snapshots
from headwater.control.snapshots.models import SnapshotAck
from headwater.control.snapshots.watch import Watch, watch
from headwater.core.sealed_snapshot import SignedSnapshot, load_public_key
from headwater.core.snapshot import Snapshot

pytestmark = pytest.mark.usefixtures("committed")


def client(authorization: str) -> httpx.AsyncClient:
    from headwater.control.asgi import application

    app: Any = application
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers={"Authorization": authorization})


@pytest.fixture
def nodes() -> httpx.AsyncClient:
    return client(f"Bearer {configuration.home().node_token.read_text().strip()}")


@pytest.fixture
def served(committed: None) -> Environment:
    return make_environment()


async def fetch(nodes: httpx.AsyncClient, environment: Environment, wait: float = 0, etag: str = "") -> Any:
    headers = {"If-None-Match": etag} if etag else {}
    return await nodes.get(f"/internal/v1/snapshots/{environment.public_id}?wait={wait}", headers=headers)


def verified(body: bytes) -> Snapshot:
    public = load_public_key(configuration.home().snapshot_public_key.read_text())
    return SignedSnapshot.parse(body).verify(public)


async def test_services_list_and_fetch_snapshots(nodes: httpx.AsyncClient, served: Environment) -> None:
    listed = (await nodes.get("/internal/v1/snapshots")).json()
    assert [entry["id"] for entry in listed["environments"]] == [served.public_id]
    reply = await fetch(nodes, served)
    snapshot = verified(reply.content)
    assert snapshot.number == listed["environments"][0]["number"]
    assert reply.headers["ETag"] == f'"{listed["environments"][0]["sha256"]}"'
    again = await fetch(nodes, served, etag=reply.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")


async def test_a_long_poll_wakes_in_under_a_second_when_a_key_is_revoked(
    nodes: httpx.AsyncClient, served: Environment
) -> None:
    key, _ = await sync_to_async(make_key)(served)
    first = await fetch(nodes, served)
    assert key.secret_sha256 in verified(first.content).keys
    waiting = [asyncio.create_task(fetch(nodes, served, wait=20, etag=first.headers["ETag"])) for _ in range(3)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in waiting)
    await sync_to_async(revoke_key)(actor=SYSTEM, key=key)
    revoked = time.monotonic()
    replies = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert time.monotonic() - revoked < 1
    for reply in replies:
        assert reply.status_code == 200
        assert key.secret_sha256 not in verified(reply.content).keys


async def test_a_long_poll_ends_when_its_time_is_up(nodes: httpx.AsyncClient, served: Environment) -> None:
    etag = (await fetch(nodes, served)).headers["ETag"]
    started = time.monotonic()
    reply = await fetch(nodes, served, wait=0.4, etag=etag)
    assert reply.status_code == 304
    assert 0.4 <= time.monotonic() - started < 2


async def test_a_service_that_is_behind_need_not_wait(nodes: httpx.AsyncClient, served: Environment) -> None:
    started = time.monotonic()
    reply = await fetch(nodes, served, wait=20, etag='"something else"')
    assert reply.status_code == 200
    assert time.monotonic() - started < 2


async def test_who_waits_keeps_no_connection_to_the_database(
    nodes: httpx.AsyncClient, served: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_while_waiting: list[object] = []

    async def wait_beyond(_watch: Watch, *_: object, **__: object) -> bool:
        open_while_waiting.append(await sync_to_async(lambda: connection.connection)())
        return False

    etag = (await fetch(nodes, served)).headers["ETag"]
    monkeypatch.setattr(Watch, "wait_beyond", wait_beyond)
    assert (await fetch(nodes, served, wait=1, etag=etag)).status_code == 304
    assert open_while_waiting == [None]


async def test_stopping_sends_everybody_home_at_once(nodes: httpx.AsyncClient, served: Environment) -> None:
    etag = (await fetch(nodes, served)).headers["ETag"]
    waiting = asyncio.create_task(fetch(nodes, served, wait=20, etag=etag))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    watch().stop()
    assert (await asyncio.wait_for(waiting, 2)).status_code == 304
    assert time.monotonic() - started < 0.5


async def test_nothing_is_asked_while_nobody_waits(served: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.control.snapshots import watch as module

    asked: list[float] = []

    def read() -> dict[object, int]:
        asked.append(time.monotonic())
        connection.ensure_connection()
        return {}

    monkeypatch.setattr(module, "_read_heads", read)
    watching = Watch()
    await asyncio.gather(*(watching.wait_beyond(served.id, 5, seconds=0.35) for _ in range(10)))
    polls = len(asked)
    assert 2 <= polls <= 6, "ten waiters share one query"
    await asyncio.sleep(0.3)
    assert len(asked) <= polls + 1
    thread = watching._thread
    assert await asyncio.get_running_loop().run_in_executor(thread, lambda: connection.connection) is None
    watching.stop()


async def test_waiting_goes_on_while_the_database_is_away(
    nodes: httpx.AsyncClient, served: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.control.snapshots import watch as module

    def away(*_: object) -> None:
        raise InterfaceError("connection already closed")

    etag = (await fetch(nodes, served)).headers["ETag"]
    monkeypatch.setattr(module, "TROUBLED_SECONDS", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(Snapshots.unscoped, "order_by", away)
        waiting = asyncio.create_task(watch().wait_beyond(served.id, 1_000, seconds=0.5))
        await asyncio.sleep(0.2)
        assert watch()._poller is not None, "it still asks"
    assert await waiting is False
    assert (await fetch(nodes, served, wait=0.1, etag=etag)).status_code == 304


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer wrong", "Basic x"])
async def test_without_the_node_token_nothing_is_told(served: Environment, authorization: str) -> None:
    stranger = client(authorization)
    for reply in (await fetch(stranger, served), await stranger.get("/internal/v1/snapshots")):
        assert reply.status_code == 401
        assert reply.json()["code"] == "unauthenticated"
        assert reply.json()["request_id"] == reply.headers["Hw-Request-Id"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("snapshots/env_00000000000000000000000000", 404, "not_found"),
        ("snapshots/nonsense", 400, "invalid_parameter"),
        ("snapshots/env_00000000000000000000000000?wait=1e9", 400, "invalid_parameter"),
        ("snapshots/env_00000000000000000000000000?wait=soon", 400, "invalid_parameter"),
        ("acks", 405, "method_not_allowed"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(nodes: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    reply = await nodes.get(f"/internal/v1/{path}")
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_what_nodes_report_is_kept_once_per_node(nodes: httpx.AsyncClient, served: Environment) -> None:
    report = {
        "node": "n1",
        "environment": served.public_id,
        "number": 1,
        "error": None,
        "applied_at": datetime.now(UTC).isoformat(),
    }
    for number, error in ((1, None), (2, "does not compile")):
        body = json.dumps(report | {"number": number, "error": error})
        reply = await nodes.post("/internal/v1/acks", content=body)
        assert reply.status_code == 204
    ack = await SnapshotAck.objects.aget()
    assert (ack.node, ack.number, ack.error) == ("n1", 2, "does not compile")
    unknown = json.dumps(report | {"environment": "env_00000000000000000000000000"})
    for body, status in (
        ("{", 400),
        ("[]", 400),
        (json.dumps(report | {"applied_at": "2026-01-01"}), 400),
        (unknown, 404),
    ):
        reply = await nodes.post("/internal/v1/acks", content=body)
        assert reply.status_code == status, body
