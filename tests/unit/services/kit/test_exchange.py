from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from headwater.services.kit.connection import BoundedConnection
from headwater.services.kit.exchange import TAKE_BODY, WRITE_NOW, frame_chunk, join_head

GET = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
BODY = {"type": "http.response.body", "body": b"body"}

App = Callable[[Any, Any, Any], Awaitable[None]]


class Wire(asyncio.Transport):
    """Remembers each write, and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.writes.append(b"closed")

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return b"closed" in self.writes

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def talk(wire: Wire) -> Iterator[Callable[..., Awaitable[None]]]:
    protocols: list[BoundedConnection] = []

    async def to(app: App, *data: bytes) -> None:
        config = Config(
            app, http=BoundedConnection, lifespan="off", log_config=None, date_header=False, access_log=False
        )
        protocol = BoundedConnection(config=config, server_state=ServerState(), app_state={})
        protocols.append(protocol)
        protocol.connection_made(wire)
        for piece in data:
            protocol.data_received(piece)
            for _ in range(20):
                await asyncio.sleep(0)

    yield to
    for protocol in protocols:
        protocol.connection_lost(None)


def say(*messages: dict[str, Any]) -> App:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
            await asyncio.sleep(0)

    return app


async def test_a_head_leaves_together_with_its_body(wire: Wire, talk: Any) -> None:
    await talk(say(START, BODY), GET)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"]


async def test_a_connection_goes_on_after_a_joined_reply(wire: Wire, talk: Any) -> None:
    await talk(say(START, BODY), GET, GET + GET)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"] * 3


async def test_a_reply_in_pieces_is_sent_as_it_comes(wire: Wire, talk: Any) -> None:
    begin = {"type": "http.response.start", "status": 200, "headers": []}
    more = {"type": "http.response.body", "body": b"a", "more_body": True}
    await talk(say(begin, more, {"type": "http.response.body", "body": b"b"}), GET)
    assert b"".join(wire.writes) == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    )


async def test_a_large_body_is_not_copied(wire: Wire, talk: Any) -> None:
    body = bytes(1 << 20)
    start = START | {"headers": [(b"content-length", b"%d" % len(body))]}
    await talk(say(start, BODY | {"body": body}), GET)
    assert wire.writes[1] == body
    assert wire.writes[0].endswith(b"\r\n\r\n")


async def test_the_reply_to_head_has_no_body(wire: Wire, talk: Any) -> None:
    await talk(say(START, BODY), GET.replace(b"GET", b"HEAD"))
    assert b"".join(wire.writes) == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


async def test_a_connection_to_be_closed_is_told_so_and_closed(wire: Wire, talk: Any) -> None:
    await talk(say(START, BODY), GET[:-2] + b"connection: close\r\n\r\n")
    assert b"connection: close\r\n" in wire.writes[0]
    assert wire.writes[-1] == b"closed"


async def test_an_application_that_fails_before_its_body_is_an_error_500(wire: Wire, talk: Any) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        raise RuntimeError("a bug")

    await talk(app, GET)
    assert wire.writes[0].startswith(b"HTTP/1.1 500 ")


async def test_a_body_of_another_length_than_declared_is_never_sent_whole(wire: Wire, talk: Any) -> None:
    await talk(say(START, BODY | {"body": b"much longer"}), GET)
    assert b"much longer" not in b"".join(wire.writes)
    assert wire.writes[-1] == b"closed"


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x", b"a\nb", b"a\0"])
async def test_a_header_cannot_smuggle_another(wire: Wire, talk: Any, value: bytes) -> None:
    await talk(say(START | {"headers": [*START["headers"], (b"x-value", value)]}, BODY), GET)  # type: ignore[misc]
    assert value not in b"".join(wire.writes)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-length", b"5")],
        [(b"content-length", b"4"), (b"content-length", b"4")],
        [(b"content-length", b"4"), (b"connection", b"close")],
        [(b"content-length", b"4"), (b"Transfer-Encoding", b"chunked")],
        [(b"content-length", b"4"), (b"a b", b"c")],
        [(b"content-length", b"4"), (b"a", b"b\n")],
    ],
)
def test_only_a_plain_head_is_joined(headers: list[tuple[bytes, bytes]]) -> None:
    assert join_head(200, headers, 4) is None


def test_tabs_may_stand_in_a_value() -> None:
    head = join_head(200, [(b"content-length", b"0"), (b"x", b"a\tb")], 0)
    assert head == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: a\tb\r\n\r\n"


async def _bodies(scope: Any, receive: Any, found: list[Any], *, wait: bool = False) -> None:
    if wait:
        found.append((await receive())["body"])
    found.append(scope[TAKE_BODY]())


async def test_a_body_that_came_with_its_head_is_taken_once(talk: Any) -> None:
    found: list[Any] = []

    async def app(scope: Any, receive: Any, _send: Any) -> None:
        await _bodies(scope, receive, found)
        await _bodies(scope, receive, found)

    await talk(app, POST + b"rows")
    assert found == [b"rows", None]


async def test_a_body_that_is_still_coming_or_was_received_is_not_taken(talk: Any) -> None:
    found: list[Any] = []

    async def app(scope: Any, receive: Any, _send: Any) -> None:
        await _bodies(scope, receive, found)
        await _bodies(scope, receive, found, wait=True)

    await talk(app, POST + b"ro", b"ws")
    assert found == [None, b"ro", None]


async def test_a_client_that_waits_for_leave_gets_it(wire: Wire, talk: Any) -> None:
    found: list[Any] = []

    async def app(scope: Any, receive: Any, _send: Any) -> None:
        await _bodies(scope, receive, found, wait=True)

    await talk(app, POST[:-2] + b"expect: 100-continue\r\n\r\n", b"rows")
    assert wire.writes[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert found == [b"rows", None]


async def test_a_request_that_has_ended_is_freed_without_the_garbage_collector(
    talk: Callable[..., Awaitable[None]], wire: Wire
) -> None:
    class Witness:
        pass

    witnesses: list[weakref.ref[Witness]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        witness = scope["witness"] = Witness()
        witnesses.append(weakref.ref(witness))
        del witness
        await say(START, BODY)(scope, receive, send)

    gc.disable()
    try:
        await talk(app, GET, GET, GET)
        assert len(witnesses) == 3
        assert [witness() for witness in witnesses[:-1]] == [None, None]  # the connection keeps the last one
    finally:
        gc.enable()


async def test_a_chunk_is_written_at_once_while_a_reply_is_under_way_and_at_no_other_time(
    wire: Wire, talk: Callable[..., Awaitable[None]]
) -> None:
    written: list[bool] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        write = scope[WRITE_NOW]
        written.append(write(frame_chunk(b"too soon")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        written.append(write(frame_chunk(b"still too soon")))
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        written.append(write(frame_chunk(b"twelve bytes")))
        await send({"type": "http.response.body", "body": b"three"})
        written.append(write(frame_chunk(b"too late")))

    await talk(app, GET)
    assert written == [False, False, True, False]
    assert wire.writes[1:] == [b"3\r\none\r\n", b"c\r\ntwelve bytes\r\n", b"5\r\nthree\r\n0\r\n\r\n"]


async def test_nothing_is_written_at_once_into_a_reply_of_a_declared_length(
    wire: Wire, talk: Callable[..., Awaitable[None]]
) -> None:
    written: list[bool] = []

    async def sized(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        written.append(scope[WRITE_NOW](frame_chunk(b"x")))
        await send({"type": "http.response.body", "body": b"def"})

    await talk(sized, GET)
    assert written == [False]
    assert wire.writes[-1] == b"def"
