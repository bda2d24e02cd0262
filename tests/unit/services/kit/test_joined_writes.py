from __future__ import annotations

import asyncio

import pytest

from headwater.services.kit.connection import JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Wire(asyncio.Transport):
    """Remembers each write, and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.writes.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.writes


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def joined(wire: Wire) -> JoinedWrites:
    return JoinedWrites(wire, asyncio.get_running_loop())


async def test_a_head_leaves_together_with_its_body(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(HEAD)
    joined.write(b"body")
    await asyncio.sleep(0)
    assert wire.writes == [HEAD + b"body"]


async def test_a_head_does_not_wait_for_a_body_of_another_turn(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(HEAD)
    await asyncio.sleep(0)
    joined.write(b"body")
    assert wire.writes == [HEAD, b"body"]


async def test_a_large_body_is_not_copied(wire: Wire, joined: JoinedWrites) -> None:
    body = bytes(1 << 20)
    joined.write(HEAD)
    joined.write(body)
    assert wire.writes == [HEAD, body]


async def test_closing_sends_what_is_held(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(HEAD)
    joined.close()
    assert wire.writes == [HEAD, b"closed"]
    assert joined.is_closing()
