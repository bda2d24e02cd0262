"""What comes into the fast lane, and what of uvicorn's protocol still holds there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.fakes.wire import Talk, ask

from headwater.services.kit import connection, fast_lane
from headwater.services.kit.fast_lane import SEEN, Call, FastLane

URL = "/v1/hot/a"
CALLER: Any = SimpleNamespace(environment=SimpleNamespace(snapshot=SimpleNamespace(number=7)))
HEAD_OF_ALL = b"HTTP/1.1 200 OK\r\ndate: today\r\n"


class App:
    """An application whose long way and lane both say what they were asked, and by which way."""

    def __init__(self) -> None:
        self.lane = FastLane({("POST", "/v1/hot/{x}"): self.take}, self.account)
        self.calls: list[Call] = []
        self.accounts: list[tuple[int, str]] = []
        self.long: list[bytes] = []
        self.does_take = True
        self.does_wait = False
        self.status = 200

    def account(self, call: Call, status: int, seconds: float, request_id: str, caller: Any) -> None:
        assert call in self.calls
        assert caller is CALLER
        assert 0 <= seconds < 10
        self.accounts.append((status, request_id))

    def take(self, call: Call) -> bool:
        if not self.does_take:
            return False
        self.calls.append(call)
        if not self.does_wait:
            self.reply(call)
        return True

    def reply(self, call: Call) -> None:
        call.reply(b"x-lane: 1\r\n", b"lane:" + call.body, request_id="req_1", caller=CALLER, now=time.monotonic())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        self.long.append(body)
        await asyncio.sleep(0)
        reply = b"long:" + body
        headers = [(b"content-length", b"%d" % len(reply))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply})
        if SEEN in scope and self.status == 200:
            scope["path_params"] = {"x": "a"}
            self.lane.remember(scope, "/v1/hot/{x}")


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def talk(app: App) -> AsyncIterator[Talk]:
    talk = Talk(app)
    yield talk
    if not talk.wire.is_closed:
        talk.end()


async def test_a_head_that_was_answered_takes_the_lane_when_it_comes_again(app: App, talk: Talk) -> None:
    assert await talk.say(ask(URL, b"one")) == [HEAD_OF_ALL + b"content-length: 8\r\n\r\nlong:one"]
    (reply,) = await talk.say(ask(URL, b"two"))
    assert reply.startswith(HEAD_OF_ALL + b"x-lane: 1\r\ncontent-length: 8\r\nx-content-type-options: nosniff\r\n")
    assert reply.endswith(b"hw-request-id: req_1\r\nhw-config-version: 7\r\n\r\nlane:two")
    head = app.calls[0].head
    assert (head.method, head.path, head.template, head.parameters) == ("POST", URL, "/v1/hot/{x}", {"x": "a"})
    assert app.calls[0].client == ("127.0.0.1", 2)
    assert app.accounts == [(200, "req_1")]


async def test_a_body_of_another_length_is_another_head(app: App, talk: Talk) -> None:
    for body in (b"one", b"four", b"two", b"five"):
        await talk.say(ask(URL, body))
    assert app.long == [b"one", b"four"]
    assert [call.body for call in app.calls] == [b"two", b"five"]


async def test_what_is_not_exactly_one_request_takes_the_long_way(app: App, talk: Talk) -> None:
    await talk.say(ask(URL, b"one"))
    request = ask(URL, b"two")
    await talk.say(request[:-1], request[-1:])
    await talk.say(request[:9], request[9:])
    await talk.say(request + request, replies=2)
    await talk.say(b"\r\n" + request)
    assert not app.calls
    await talk.say(request)
    assert len(app.calls) == 1
    # What follows within a piece is never taken for a part of the request before it.
    await talk.say(request[:-3] + b"two" + request[:20], request[20:], replies=2)
    assert len(app.calls) == 1
    assert app.long == [b"one"] + [b"two"] * 7


async def test_a_message_that_has_begun_keeps_the_lane_closed(app: App, talk: Talk) -> None:
    await talk.say(ask(URL, b"one"))
    inner = ask(URL, b"two")
    outer = ask(URL, inner + b"end")
    head = len(outer) - len(inner) - 3
    # The second piece looks like a request whose head is known, and is the body of another.
    await talk.say(outer[:head], inner, b"end")
    assert not app.calls
    assert app.long[-1] == inner + b"end"


async def test_what_the_handler_declines_takes_the_long_way(app: App, talk: Talk) -> None:
    await talk.say(ask(URL, b"one"))
    app.does_take = False
    (reply,) = await talk.say(ask(URL, b"two"))
    assert reply.endswith(b"long:two")
    app.does_take = True
    (reply,) = await talk.say(ask(URL, b"two"))
    assert reply.endswith(b"lane:two")


async def test_only_success_with_plain_headers_is_remembered(app: App, talk: Talk, monkeypatch: Any) -> None:
    app.status = 404
    await talk.say(ask(URL, b"one"))
    app.status = 200
    for headers in ({"x-new": "1"}, {"Cookie": "a"}, {"Host": "twice"}, {"Connection": "Upgrade"}):
        await talk.say(ask(URL, b"one", **headers))
    await talk.say(ask(URL + "?a=b", b"one"))
    await talk.say(ask(URL, b"one").replace(b"POST", b"PUT"))
    monkeypatch.setattr(fast_lane, "MAX_HEAD_BYTES", 70)
    await talk.say(ask(URL, b"one", Accept="*/*"))
    assert not app.lane.known
    await talk.say(ask(URL, b"one"))
    assert len(app.lane.known) == 1


async def test_the_memory_has_a_bound(app: App, talk: Talk, monkeypatch: Any) -> None:
    monkeypatch.setattr(fast_lane, "MAX_HEADS", 3)
    for length in range(1, 9):
        await talk.say(ask(URL, b"x" * length))
        assert 0 < len(app.lane.known) <= 3


async def test_requests_behind_one_in_the_lane_wait_for_it(app: App, talk: Talk) -> None:
    await talk.say(ask(URL, b"one"))
    app.does_wait = True
    talk.protocol.data_received(ask(URL, b"two"))
    talk.protocol.data_received(ask(URL, b"3rd") + ask(URL, b"4th"))
    await asyncio.sleep(0.01)
    assert len(talk.wire.writes) == 1
    app.reply(app.calls[0])
    await talk.say(replies=2)
    assert [reply[-8:] for reply in talk.wire.writes] == [b"long:one", b"lane:two", b"long:3rd", b"long:4th"]
    app.does_wait = False
    await talk.say(ask(URL, b"5th"))
    assert len(app.calls) == 2


async def test_a_client_that_goes_is_told_of_and_spared_the_reply(app: App, talk: Talk) -> None:
    await talk.say(ask(URL, b"one"))
    app.does_wait = True
    await_gone: list[str] = []
    talk.protocol.data_received(ask(URL, b"two"))
    app.calls[0].on_gone = lambda: await_gone.append("gone")
    talk.end()
    assert await_gone == ["gone"]
    app.reply(app.calls[0])
    assert len(talk.wire.writes) == 1
    assert app.accounts == [(200, "req_1")]
    talk.wire.close()


async def test_a_connection_that_is_told_to_end_ends_after_its_reply(app: App, talk: Talk) -> None:
    await talk.say(ask(URL, b"one"))
    app.does_wait = True
    talk.protocol.data_received(ask(URL, b"two"))
    talk.protocol.shutdown()
    assert not talk.wire.is_closed
    app.reply(app.calls[0])
    assert b"\r\nconnection: close\r\n\r\nlane:two" in talk.wire.written
    assert talk.wire.is_closed


async def test_an_idle_connection_that_is_told_to_end_ends_at_once(app: App, talk: Talk) -> None:
    for body in (b"one", b"two"):
        await talk.say(ask(URL, body))
    assert len(app.calls) == 1
    talk.protocol.shutdown()
    assert talk.wire.is_closed


async def test_a_connection_is_closed_when_it_was_idle_for_long_enough(app: App, talk: Talk) -> None:
    talk.protocol.timeout_keep_alive = 0.08  # type: ignore[assignment] # parts of a second do as well
    for body in (b"one", b"two", b"3rd", b"4th"):
        await talk.say(ask(URL, body))
        await asyncio.sleep(0.05)
        assert not talk.wire.is_closed
    assert len(app.calls) == 3
    await asyncio.sleep(0.1)
    assert talk.wire.is_closed


async def test_a_connection_is_not_idle_while_a_request_is_in_the_lane(app: App, talk: Talk) -> None:
    talk.protocol.timeout_keep_alive = 0.03  # type: ignore[assignment] # as above
    await talk.say(ask(URL, b"one"))
    app.does_wait = True
    talk.protocol.data_received(ask(URL, b"two"))
    await asyncio.sleep(0.08)
    assert not talk.wire.is_closed
    app.reply(app.calls[0])
    await asyncio.sleep(0.08)
    assert talk.wire.is_closed


async def test_a_head_after_a_request_in_the_lane_is_waited_for_no_longer_than_any(
    app: App, talk: Talk, monkeypatch: Any
) -> None:
    for body in (b"one", b"two"):
        await talk.say(ask(URL, body))
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    assert len(app.calls) == 1
    await asyncio.sleep(0.08)
    assert not talk.wire.is_closed
    await talk.say(ask(URL, b"3rd")[:20], replies=0)
    await asyncio.sleep(0.08)
    assert talk.wire.writes[-1].startswith(b"HTTP/1.1 400")
    assert talk.wire.is_closed


async def test_the_date_of_replies_is_that_of_the_server(app: App, talk: Talk) -> None:
    for body in (b"one", b"two"):
        await talk.say(ask(URL, body))
    talk.state.default_headers = [(b"date", b"tomorrow")]
    (reply,) = await talk.say(ask(URL, b"3rd"))
    assert reply.startswith(b"HTTP/1.1 200 OK\r\ndate: tomorrow\r\n")
    assert len(app.calls) == 2
