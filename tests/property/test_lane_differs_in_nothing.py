"""Whatever bytes come on a connection, a server with the fast lane writes those that one without it writes."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.wire import Talk, ask

from headwater.services.kit.fast_lane import SECURITY_HEADERS, SEEN, Call, FastLane

URL, EARLY = "/v1/hot/a", "/early"
CALLER: Any = SimpleNamespace(environment=SimpleNamespace(snapshot=SimpleNamespace(number=1)))
OWN = (*SECURITY_HEADERS, (b"hw-request-id", b"req_1"), (b"hw-config-version", b"1"))
BODY = b"xy"
PLAIN = ask(URL, BODY)
INNER = ask(URL, PLAIN)

ODD = [
    PLAIN.replace(b"Host", b"host"),
    PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: services", b"Connection: keep-alive"),
    PLAIN.replace(b"Content-Length: 2", b"Content-Length: 02"),
    PLAIN.replace(b"Content-Length: 2", b"Content-Length: 1"),
    PLAIN.replace(b"Content-Length: 2", b"Content-Length: 3"),
    PLAIN.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
    PLAIN.replace(b"Content-Length: 2", b"Content-Length : 2"),
    PLAIN.replace(b"Content-Length: 2", b"Content-Length: 2\r\nTransfer-Encoding: chunked"),
    PLAIN.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked").replace(b"xy", b"2\r\nxy\r\n0\r\n\r\n"),
    PLAIN.replace(b"Content-Length: 2", b"Content-Length: 2\n"),
    PLAIN.replace(b"\r\n\r\n", b"\n\n"),
    PLAIN.replace(b"\r\n\r\n", b"\r\n\r\n\r\n"),
    PLAIN.replace(b"\r\n", b"\n"),
    PLAIN.replace(b"POST", b"HEAD"),
    PLAIN.replace(b"POST", b"GET"),
    ask(URL, BODY, Connection="close"),
    ask(URL, BODY, Connection="keep-alive"),
    ask(URL, BODY, Connection="Upgrade", Upgrade="h2c"),
    ask(URL, BODY, Expect="100-continue"),
    ask(URL, BODY, Accept="a\r\n b"),
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
]
sent = st.lists(
    st.tuples(
        st.sampled_from([PLAIN] * 6 + [INNER, INNER, ask(URL, INNER), ask(EARLY, INNER), ask(EARLY, PLAIN)] + ODD),
        st.sampled_from(["whole", "whole", "whole", "join", "cut", "head"]),
        st.integers(1, 200),
    ),
    min_size=1,
    max_size=8,
)


class Echo:
    """Answers with the body, both ways with the same bytes; ``later`` says whether the lane waits for a batch."""

    def __init__(self, *, later: bool) -> None:
        self.lane = FastLane({("POST", "/v1/hot/{x}"): self.take}, lambda *_arguments: None)
        self.later = later
        self.taken = 0

    def take(self, call: Call) -> bool:
        self.taken += 1
        if self.later:
            asyncio.get_running_loop().call_soon(self.reply, call)
        else:
            self.reply(call)
        return True

    def reply(self, call: Call) -> None:
        call.reply(b"", call.body, request_id="req_1", caller=CALLER, now=time.monotonic())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Some answers do not wait for the body, which then is no request, whatever it looks like.
        body, more = b"", scope["path"] != EARLY
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        headers = [(b"content-length", b"%d" % len(body)), *OWN]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if SEEN in scope and scope["path"] == URL:
            scope["path_params"] = {"x": "a"}
            self.lane.remember(scope, "/v1/hot/{x}")


def pieces(asked: list[tuple[bytes, str, int]]) -> list[bytes]:
    """Return what is sent as it comes in: each whole, cut somewhere, or in one piece with the next."""
    found: list[bytes] = []
    joins = False
    for data, how, at in asked:
        place = {"cut": at, "head": data.find(b"\r\n\r\n") + 4}.get(how, 0)
        parts = [part for part in (data[:place], data[place:]) if part]
        if joins:
            parts[0] = found.pop() + parts[0]
        found += parts
        joins = how == "join"
    return found


async def talked(asked: list[tuple[bytes, str, int]], *, lane: bool, later: bool) -> tuple[bytes, bool]:
    """Return what a server writes, but for the ids of requests that are no HTTP, and whether it closes."""
    echo = Echo(later=later)
    talk = Talk(echo, lane=lane)
    for data in (PLAIN, PLAIN, INNER):
        await talk.say(data)
    assert echo.taken == (1 if lane else 0)
    for piece in pieces(asked):
        if talk.wire.is_closed:
            break
        talk.protocol.data_received(piece)
        for _ in range(12):
            await asyncio.sleep(0)
    said, closes = talk.wire.written, talk.wire.is_closed
    talk.end()
    before, _, problem = said.partition(b"HTTP/1.1 400")
    return before + problem[:20], closes


@settings(max_examples=400)
@given(asked=sent, later=st.booleans())
def test_a_connection_says_the_same_with_and_without_the_lane(asked: list[tuple[bytes, str, int]], later: bool) -> None:
    async def run() -> tuple[tuple[bytes, bool], tuple[bytes, bool]]:
        return await talked(asked, lane=False, later=later), await talked(asked, lane=True, later=later)

    expected, found = asyncio.run(run())
    assert found == expected
