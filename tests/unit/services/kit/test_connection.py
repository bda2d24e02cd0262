from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.fakes.process import until
from uvicorn import Config
from uvicorn.server import ServerState

from headwater.services.kit import connection
from headwater.services.kit.connection import MAX_HEAD_BYTES, BoundedConnection, LaneConnection

ASK = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
REFUSED = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nb"
SEND = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """What the client sees."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False
        self.left = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.is_aborted = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def problem(self) -> dict[str, Any]:
        head, _, body = self.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-type: application/problem+json\r\n" in head
        assert b"connection: close" in head
        document: dict[str, Any] = json.loads(body)
        return document


async def answer(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def connect(
    protocol_class: type[BoundedConnection] = BoundedConnection, app: Any = answer
) -> tuple[BoundedConnection, Wire]:
    wire = Wire()
    config = Config(app, http=protocol_class, lifespan="off", log_config=None)
    protocol = protocol_class(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(wire)
    return protocol, wire


async def answered(wire: Wire, times: int = 1) -> bool:
    for _ in range(20):
        await asyncio.sleep(0)
    return wire.written.count(b"HTTP/1.1 204") == times


async def test_requests_are_answered_as_ever() -> None:
    protocol, wire = connect()
    protocol.data_received(ASK)
    assert await answered(wire)
    protocol.data_received(ASK[:10])
    protocol.data_received(ASK[10:])
    assert await answered(wire, 2)
    protocol.connection_lost(None)


async def test_a_large_body_in_many_pieces_is_no_long_head() -> None:
    protocol, wire = connect()
    protocol.data_received(SEND)
    for _ in range(8):
        protocol.data_received(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    protocol.data_received(b"0\r\n\r\n")
    assert await answered(wire)
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    "beginning",
    [b"GET /", b"GET /x HTTP/1.1\r\nx: ", b"GET /x HTTP/1.1\r\n"],
    ids=["the address", "one header", "many headers"],
)
async def test_a_head_without_end_is_refused_once_it_is_too_long(beginning: bytes) -> None:
    protocol, wire = connect()
    protocol.data_received(beginning)
    piece = b"x: y\r\n" * 1_000 if beginning.endswith(b"1.1\r\n") else b"x" * 6_000
    for _ in range(2 * MAX_HEAD_BYTES // len(piece)):
        if wire.is_closing():
            break
        protocol.data_received(piece)
    assert wire.is_closing()
    assert wire.problem["code"] == "invalid_header"
    assert "65,536 bytes" in wire.problem["detail"]


async def test_trailers_without_end_close_the_connection() -> None:
    protocol, wire = connect()
    protocol.data_received(SEND + b"0\r\n")
    for _ in range(12):
        protocol.data_received(b"x: y\r\n" * 1_000)
    assert wire.is_closing()


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", ASK + b"GET / HT"])
async def test_a_head_that_never_comes_is_waited_for_only_so_long(
    beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    protocol, wire = connect()
    if beginning:
        protocol.data_received(beginning)
    assert not wire.is_closing()
    await asyncio.sleep(0.1)
    assert wire.is_closing()
    assert b"no complete request came within" in wire.written


@pytest.mark.parametrize("protocol_class", [BoundedConnection, LaneConnection])
@pytest.mark.parametrize(
    ("first", "more"),
    [(ASK, b"\r\n"), (REFUSED, b"a"), (REFUSED, b"a" * 9)],
    ids=["an empty line", "a part of a body that nobody reads", "the rest of that body"],
)
async def test_bytes_that_lead_nowhere_keep_no_connection_open(
    protocol_class: type[BoundedConnection], first: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    protocol, wire = connect(protocol_class, answer if first is ASK else refuse)
    protocol.data_received(first)
    assert await answered(wire)
    protocol.data_received(more)
    written = wire.written
    await asyncio.sleep(0.1)
    assert wire.is_closing()
    assert wire.written == written  # nobody has asked for another answer


async def test_a_slow_body_is_not_the_connections_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    protocol, wire = connect()
    protocol.data_received(SEND)
    protocol.data_received(b"1\r\n")
    protocol.data_received(b"x\r\n")
    await asyncio.sleep(0.1)
    assert not wire.is_closing()
    protocol.data_received(b"0\r\n\r\n")
    assert await answered(wire)
    protocol.connection_lost(None)


async def test_what_is_no_http_gets_a_problem_like_everything_else() -> None:
    protocol, wire = connect()
    protocol.data_received(b"\x16\x03\x01 hello\r\n\r\n")
    assert wire.is_closing()
    assert wire.problem["request_id"].startswith("req_")


LAST = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("protocol_class", [BoundedConnection, LaneConnection])
@pytest.mark.parametrize("begin", [LAST, b"no request at all\r\n\r\n"])
async def test_a_closed_connection_is_left_when_nobody_takes_its_last_bytes(
    protocol_class: type[BoundedConnection], begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.05)
    protocol, wire = connect(protocol_class)
    wire.left = 300  # too little for writing to be paused
    protocol.data_received(begin)
    await until(lambda: wire.is_closed and wire.is_aborted)
    protocol.connection_lost(None)


async def test_a_closed_connection_is_not_left_while_its_last_bytes_are_taken() -> None:
    protocol, wire = connect()
    wire.left = 10_000
    protocol.data_received(LAST)
    await until(lambda: wire.is_closed)
    look = protocol._look_at_writing
    for left in (200, 100):
        wire.left = left
        look()
        assert not wire.is_aborted
    protocol.connection_lost(None)
    assert protocol._look is None


LARGE = b"x" * (16 << 20)


async def pour(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(LARGE))]})
    await send({"type": "http.response.body", "body": LARGE, "more_body": True})
    await send({"type": "http.response.body"})


async def served(app: Any) -> tuple[asyncio.Server, ServerState, asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a server on a socket, and a client of it that has asked and whose buffers are small."""
    state = ServerState()
    config = Config(app, http=LaneConnection, lifespan="off", log_config=None, access_log=False)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: LaneConnection(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], limit=1 << 14)
    writer.write(ASK)
    return server, state, reader, writer


async def test_a_client_that_takes_nothing_of_its_reply_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.1)
    server, state, _reader, writer = await served(pour)
    await until(lambda: bool(state.connections))
    await until(lambda: not (state.connections or state.tasks))
    writer.close()
    server.close()


async def test_a_client_that_takes_its_reply_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TAKE_SECONDS", 1.0)
    server, _state, reader, writer = await served(pour)
    await reader.readuntil(b"\r\n\r\n")
    read, pauses = 0, 0
    async with asyncio.timeout(20):
        while read < len(LARGE):
            read += len(await reader.read(1 << 16))
            if read // (4 << 20) > pauses:
                pauses += 1
                await asyncio.sleep(0.3)
    assert read == len(LARGE)
    assert pauses == 4
    writer.close()
    server.close()
