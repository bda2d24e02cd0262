"""What only a real connection shows: bodies that never end, never come, or need not be sent at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio
import uvicorn
from tests.builders.datasets import make_contract, make_dataset
from tests.builders.snapshots import KEY
from tests.fakes.ingest import Ingest, ingesting

from headwater.core.setting_sections import IngestSettings

CHUNK = b"x" * (1 << 20)


@dataclass
class Connection:
    """One HTTP/1.1 connection, spoken by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def begin(self, *headers: str, target: str = "/v1/datasets/orders/rows") -> None:
        """Send a request without its body."""
        lines = [
            f"POST {target} HTTP/1.1",
            "host: services",
            f"authorization: Bearer {KEY}",
            "content-type: application/x-ndjson",
            *headers,
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body of the next response."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        return int(head.split()[1]), await self.reader.readexactly(length)


@dataclass
class Server:
    ingest: Ingest
    port: int

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def works(self) -> bool:
        """Return whether a good request on a new connection is accepted."""
        async with self.connect() as connection:
            connection.begin("content-length: 10")
            connection.writer.write(b'{"id":"a"}')
            return (await connection.answer())[0] == 200


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    limits = IngestSettings(max_body_bytes=4 << 20, body_stall_seconds=0.3)
    async with ingesting(tmp_path, make_dataset(make_contract()), limits=limits) as ingest:
        config = uvicorn.Config(ingest.door, lifespan="off", log_level="error", access_log=False)
        running = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            task = asyncio.create_task(running._serve([listener]))
            while not running.started:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
            yield Server(ingest, listener.getsockname()[1])
            running.should_exit = True
            await task


async def test_a_hundred_megabytes_are_refused_before_they_are_sent(server: Server) -> None:
    async with server.connect() as connection:
        connection.begin(f"content-length: {100 << 20}")
        status, body = await connection.answer()
        assert (status, b'"payload_too_large"' in body) == (413, True)
    assert server.ingest.stored() == []
    assert await server.works()


async def test_a_hundred_megabytes_without_a_length_are_refused_at_the_limit(server: Server) -> None:
    async with server.connect() as connection:
        connection.begin("transfer-encoding: chunked")

        async def send() -> None:
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    connection.writer.write(b"%x\r\n" % len(CHUNK) + CHUNK + b"\r\n")
                    await connection.writer.drain()

        sending = asyncio.create_task(send())
        status, body = await connection.answer()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert (status, b'"payload_too_large"' in body) == (413, True)
    assert server.ingest.service.admission.in_flight_bytes == 0
    assert await server.works()


async def test_a_client_that_asks_first_is_told_before_it_sends(server: Server) -> None:
    async with server.connect() as connection:
        connection.begin("content-length: 10", "expect: 100-continue")
        assert (await connection.answer())[0] == 100
        connection.writer.write(b'{"id":"a"}')
        assert (await connection.answer())[0] == 200
    async with server.connect() as connection:
        connection.begin("content-length: 10", "expect: 100-continue", target="/v1/datasets/nowhere/rows")
        assert (await connection.answer())[0] == 404
    async with server.connect() as connection:
        connection.begin(f"content-length: {5 << 20}", "expect: 100-continue")
        assert (await connection.answer())[0] == 413


async def test_a_body_that_stops_arriving_is_given_up_on(server: Server) -> None:
    async with server.connect() as connection:
        connection.begin("content-length: 10")
        connection.writer.write(b'{"id"')
        status, body = await connection.answer()
        assert (status, b'"request_timeout"' in body) == (408, True)
        assert await connection.reader.read() == b""
    assert server.ingest.service.admission.in_flight_bytes == 0
    assert await server.works()


async def test_a_slow_body_that_keeps_coming_is_waited_for(server: Server) -> None:
    async with server.connect() as connection:
        connection.begin("content-length: 10")
        for byte in b'{"id":"a"}':
            connection.writer.write(bytes([byte]))
            await asyncio.sleep(0.08)
        assert (await connection.answer())[0] == 200


async def test_a_client_that_hangs_up_leaves_nothing_behind(server: Server) -> None:
    async with server.connect() as connection:
        connection.begin("content-length: 1000")
        connection.writer.write(b'{"id":"a"}\n')
        await connection.writer.drain()
        await asyncio.sleep(0.05)
    for _ in range(100):
        if not server.ingest.service.admission.in_flight_bytes:
            break
        await asyncio.sleep(0.01)
    assert server.ingest.service.admission.in_flight_bytes == 0
    assert server.ingest.stored() == []
    assert await server.works()


async def test_abused_headers_are_refused_and_the_server_lives_on(server: Server) -> None:
    for headers in (
        ["content-length: 10", "content-length: 11"],
        ["content-length: ten"],
        ["content-length: 10", "idempotency-key: a", "idempotency-key: b"],
        ["content-length: 10", "content-type: text/csv"],
        ["content-length: 10", "idempotency-key: \xff\xfe"],
        ["content-length: 10", "authorization: Bearer hw_other"],
    ):
        async with server.connect() as connection:
            connection.begin(*headers)
            connection.writer.write(b'{"id":"a"}')
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                assert (await connection.answer())[0] in (400, 401, 431)
        assert await server.works()
    assert {row["id"] for row in server.ingest.stored()} == {"a"}


async def test_many_requests_on_one_connection_are_answered_in_order(server: Server) -> None:
    async with server.connect() as connection:
        for number in range(20):
            body = b'{"id":"r%02d"}' % number
            connection.begin(f"content-length: {len(body)}")
            connection.writer.write(body)
        for _ in range(20):
            assert (await connection.answer())[0] == 200
    assert [row["id"] for row in server.ingest.stored()] == [f"r{number:02}" for number in range(20)]
