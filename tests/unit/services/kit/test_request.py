from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.core.errors import HeadwaterError
from headwater.services.kit.request import context_of, read_body


class Sender:
    """Hands out messages one by one, then nothing for ever."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)

    async def receive(self) -> dict[str, Any]:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def read(*messages: dict[str, Any], length: str | None = None, most: int = 10) -> bytes:
    headers = [(b"content-length", length.encode())] if length is not None else []
    sender = Sender(*messages)
    return await read_body({"headers": headers}, sender.receive, max_bytes=most, stall_seconds=0.05)


async def test_a_body_is_put_together_from_its_parts() -> None:
    assert await read(part(b"abc")) == b"abc"
    assert await read(part(b"ab", more=True), part(b"", more=True), part(b"c")) == b"abc"
    assert await read(part(b"")) == b""


@pytest.mark.parametrize(
    ("messages", "length", "code"),
    [
        ([], "11", "payload_too_large"),
        ([part(b"x" * 11)], None, "payload_too_large"),
        ([part(b"x" * 6, more=True), part(b"x" * 6, more=True)], None, "payload_too_large"),
        ([], "-1", "invalid_header"),
        ([], "ten", "invalid_header"),
        ([part(b"x", more=True)], None, "request_timeout"),
        ([], None, "request_timeout"),
        ([part(b"x", more=True), {"type": "http.disconnect"}], None, "request_timeout"),
    ],
)
async def test_a_body_that_is_too_large_or_stops_is_refused(
    messages: list[dict[str, Any]], length: str | None, code: str
) -> None:
    with pytest.raises(HeadwaterError) as refused:
        await read(*messages, length=length)
    assert refused.value.code == code


def test_a_request_has_one_id_wherever_it_is_asked_for() -> None:
    scope: dict[str, Any] = {"headers": []}
    assert context_of(scope).request_id == context_of(scope).request_id
