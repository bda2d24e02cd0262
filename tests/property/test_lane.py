"""However requests are cut into pieces and follow each other, each is answered once, in order, with its own body."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.wire import Talk, ask

from headwater.services.kit.fast_lane import SEEN, Call, FastLane

CALLER: Any = SimpleNamespace(environment=SimpleNamespace(snapshot=SimpleNamespace(number=1)))
INNER = ask("/v1/hot/a", b"xy")

bodies = st.sampled_from([b"one", b"two", b"xy", INNER, b"", b"\r\n\r\n", INNER + INNER, INNER[:-2]])
requests = st.tuples(
    bodies,
    st.sampled_from(["plain"] * 6 + ["chunked", "other"]),
    st.sampled_from(["whole"] * 4 + ["head", "middle", "join"]),
)
MOODS = st.sampled_from(["now", "later", "decline"])


class Echo:
    """Answers with the body, by either way; in the lane at once, later, or not at all, as ``moods`` say."""

    def __init__(self, moods: list[str]) -> None:
        self.lane = FastLane({("POST", "/v1/hot/{x}"): self.take}, lambda *_arguments: None)
        self.moods = moods
        self.taken = 0

    def take(self, call: Call) -> bool:
        mood = self.moods[self.taken % len(self.moods)]
        self.taken += 1
        if mood == "decline":
            return False
        if mood == "later":
            asyncio.get_running_loop().call_later(0.0005, self.reply, call)
        else:
            self.reply(call)
        return True

    def reply(self, call: Call) -> None:
        call.reply(b"", call.body, request_id="req_1", caller=CALLER, now=time.monotonic())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if SEEN in scope:
            scope["path_params"] = {"x": "a"}
            self.lane.remember(scope, "/v1/hot/{x}")


def written(body: bytes, kind: str) -> bytes:
    if kind == "chunked":
        head = ask("/v1/hot/a", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        return head + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return ask("/v1/hot/a", body, **({"x-other": "1"} if kind == "other" else {}))


def read(replies: bytes) -> list[bytes]:
    found = []
    while replies:
        head, _, replies = replies.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append(replies[:length])
        replies = replies[length:]
    return found


def pieces(asked: list[tuple[bytes, str, str]]) -> list[bytes]:
    """Return requests as they come in: each whole, cut somewhere, or in one piece with the next."""
    found: list[bytes] = []
    joins = False
    for body, kind, cut in asked:
        request = written(body, kind)
        at = {"head": request.index(b"\r\n\r\n") + 4, "middle": len(request) // 2}.get(cut, 0)
        parts = [part for part in (request[:at], request[at:]) if part]
        if joins:
            parts[0] = found.pop() + parts[0]
        found += parts
        joins = cut == "join"
    return found


@settings(max_examples=300)
@given(asked=st.lists(requests, min_size=1, max_size=8), moods=st.lists(MOODS, min_size=1, max_size=3))
def test_each_request_is_answered_once_in_order_with_its_own_body(
    asked: list[tuple[bytes, str, str]], moods: list[str]
) -> None:
    async def run() -> bytes:
        talk = Talk(Echo(moods))
        for body in (b"one", b"xy", INNER):
            await talk.say(written(body, "plain"))
        before = len(talk.wire.written)
        await talk.say(*pieces(asked), replies=len(asked))
        said = talk.wire.written[before:]
        talk.end()
        return said

    assert read(asyncio.run(run())) == [body for body, _kind, _cut in asked]
