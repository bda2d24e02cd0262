"""Live results over the network: a services process of its own, a lake that somebody else writes, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builders.processes import ServicesProcess, free_port, wait_until
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.query_process import FLIGHTS, dataset, endpoint, flights
from tests.fakes.watching import COUNTS

from headwater.client import AsyncClient, Client, RetryPolicy
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.settings import Settings
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.services.kit.snapshot_store import SnapshotStore

WIDE = """/*
key: [id]
max_rows: 100000
live: {min_interval_seconds: 0.1}
*/
SELECT id, carrier, lpad('', 1000, 'x') AS padding FROM flights ORDER BY id
"""
PATIENT = RetryPolicy(attempts=30, first_seconds=0.1, longest_seconds=0.5)
AWAY = "http://127.0.0.1:1"


class Lake:
    """The writer of a home's tables, as the sealer is one."""

    def __init__(self, home: Path) -> None:
        self._store = open_lake(Settings(home=home))
        self._sealed = 0

    def seal(self, first: int, rows: int) -> None:
        self._sealed += 1
        self._store.append("env_1/flights", flights(first, rows), AppTransaction("test", self._sealed))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home that was served before; control is away."""
    control, home = FakeControl(), Home(tmp_path)
    control.establish_trust(home)
    snapshot = make_snapshot(
        keys={KEY: make_key("endpoint.invoke:*")},
        datasets={"flights": dataset(FLIGHTS)},
        endpoints={"counts": endpoint("counts", COUNTS), "wide": endpoint("wide", WIDE)},
    )
    SnapshotStore(home.snapshots).save(SignedSnapshot.sign(snapshot, control.key), snapshot)
    return tmp_path


@contextlib.contextmanager
def serving(home: Path, port: int | None = None, workers: int = 1) -> Iterator[ServicesProcess]:
    with ServicesProcess(home, only=["query"], port=port, control__url=AWAY, services__workers=workers) as services:
        services.wait_ready()
        yield services


def connect(services: ServicesProcess) -> Client:
    return Client(f"http://127.0.0.1:{services.port}", KEY, retry=PATIENT)


@contextlib.contextmanager
def open_stream(services: ServicesProcess, name: str, *, small: bool = False) -> Iterator[socket.socket]:
    """Open a stream by hand; a ``small`` window lets little of what nobody reads leave the server."""
    with socket.socket() as connection:
        if small:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", services.port))
        head = f"GET /v1/endpoints/{name}/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(20)
        yield connection


def metric(services: ServicesProcess, name: str) -> float:
    found = [line for line in services.http.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def test_a_client_follows_over_a_restart_of_the_services(home: Path) -> None:
    lake, port = Lake(home), free_port()
    lake.seal(0, 30)
    with contextlib.ExitStack() as stack:
        with serving(home, port) as services:
            states = stack.enter_context(contextlib.closing(stack.enter_context(connect(services)).live("counts")))
            assert [row["flights"] for row in next(states).rows] == [10, 10, 10]
            lake.seal(30, 1)
            assert [row["flights"] for row in next(states).rows] == [11, 10, 10]
            status, log = services.stop()
            assert (status, "Traceback" in log) == (0, False), log
        with serving(home, port):
            lake.seal(31, 2)
            assert [row["flights"] for row in next(states).rows] == [11, 11, 11]
            lake.seal(33, 1)
            assert [row["flights"] for row in next(states).rows] == [12, 11, 11]


async def test_many_clients_of_several_workers_see_every_commit(home: Path) -> None:
    lake = Lake(home)
    with serving(home, workers=2) as services:

        async def follow(client: AsyncClient) -> int:
            async with contextlib.aclosing(client.live("counts")) as states:
                async for table in states:
                    if sum(row["flights"] for row in table.rows) == 9:
                        return len(table.rows)
            raise AssertionError

        url = f"http://127.0.0.1:{services.port}"
        async with AsyncClient(url, KEY, retry=PATIENT) as client, asyncio.timeout(60):
            following = [asyncio.create_task(follow(client)) for _ in range(20)]
            for number in range(3):
                await asyncio.sleep(0.2)
                await asyncio.to_thread(lake.seal, number * 3, 3)
            assert await asyncio.gather(*following) == [3] * 20
        assert services.stop()[0] == 0


def test_a_client_that_reads_nothing_keeps_nobody_waiting_and_gets_what_is_newest(home: Path) -> None:
    lake = Lake(home)
    lake.seal(0, 4_900)
    with (
        serving(home) as services,
        open_stream(services, "wide", small=True) as stuck,
        connect(services) as client,
        contextlib.closing(client.live("wide")) as states,
    ):
        assert len(next(states).rows) == 4_900
        for number in range(12):
            lake.seal(4_900 + number, 1)
            assert len(next(states).rows) == 4_901 + number
        text = _read_until(stuck, b'"row_count":4912', seconds=30)
        assert text.count(b"event: ") <= 3
        assert metric(services, "headwater_query_live_streams ") == 2
        services.stop()


def test_a_stop_ends_open_streams_at_once_and_does_not_wait_for_those_that_nobody_reads(home: Path) -> None:
    Lake(home).seal(0, 4_900)
    with (
        serving(home) as services,
        open_stream(services, "wide", small=True),
        open_stream(services, "counts") as reader,
    ):
        _read_until(reader, b"event: snapshot")
        wait_until(lambda: metric(services, "headwater_query_live_events_total") == 2)
        began = time.monotonic()
        status, log = services.stop()
        assert time.monotonic() - began < 15
        assert status == 0
        assert "Traceback" not in log
        assert "Exception in ASGI" not in log
        assert _read_until(reader, b"0\r\n\r\n").endswith(b"0\r\n\r\n")
        assert reader.recv(1) == b""


def test_clients_that_go_leave_nothing_behind(home: Path) -> None:
    with serving(home) as services:
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                for _ in range(10):
                    _read_until(stack.enter_context(open_stream(services, "counts")), b"event: snapshot")
                assert metric(services, "headwater_query_live_streams ") == 10
                assert metric(services, "headwater_query_live_groups ") == 1
            wait_until(lambda: metric(services, "headwater_query_live_streams ") == 0)
            assert metric(services, "headwater_query_live_groups ") == 0
        assert metric(services, "headwater_query_live_runs_total") <= 3
        status, log = services.stop()
        assert (status, "Traceback" in log) == (0, False)


def test_a_ticket_opens_a_stream_and_is_in_no_log(home: Path) -> None:
    with serving(home) as services:
        headers = {"Authorization": f"Bearer {KEY}"}
        body = services.http.post("/v1/endpoints/counts/live/tickets", json={}, headers=headers).json()
        with services.http.stream("GET", body["path"], headers={"Origin": "http://console"}) as reply:
            assert reply.headers["access-control-allow-origin"] == "*"
            lines = reply.iter_lines()
            assert json.loads(next(line for line in lines if line.startswith("data: "))[6:])["data"] == []
        bad = services.http.get(body["path"] + "x")
        assert (bad.status_code, bad.json()["code"]) == (401, "unauthenticated")
        _status, log = services.stop()
    assert "/v1/endpoints/counts/live" in log
    assert body["ticket"][:20] not in log


def _read_until(connection: socket.socket, mark: bytes, seconds: float = 20) -> bytes:
    text, deadline = b"", time.monotonic() + seconds
    while mark not in text:
        piece = connection.recv(1 << 20)
        text += piece
        assert piece, text[-400:]
        assert time.monotonic() < deadline, text[-400:]
    return text
