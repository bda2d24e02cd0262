"""A connection without a socket: bytes in, writes out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from headwater.services.kit.connection import LaneConnection


class Wire(asyncio.Transport):
    """Remembers each write, and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False
        self.reads = True

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 2), "sockname": ("127.0.0.1", 1)}.get(name, default)


class Talk:
    """One client's connection to an application, as the services' server makes them."""

    def __init__(self, app: Any, *, lane: bool = True) -> None:
        """Connect; without ``lane`` every request takes the long way."""
        config = Config(
            app, http=LaneConnection, lifespan="off", log_config=None, access_log=False, ws="none", proxy_headers=False
        )
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.protocol = LaneConnection(config=config, server_state=self.state, app_state={})
        if not lane:
            self.protocol._lane = None
        self.wire = Wire()
        self.protocol.connection_made(self.wire)

    async def say(self, *pieces: bytes, replies: int = 1) -> list[bytes]:
        """Send pieces, wait for as many replies, and return what was written for them."""
        before, answered = len(self.wire.writes), self.state.total_requests
        for piece in pieces:
            self.protocol.data_received(piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while self.state.total_requests < answered + replies and not self.wire.is_closed:  # noqa: ASYNC110 - it is uvicorn's own count
                await asyncio.sleep(0.001)
        return self.wire.writes[before:]

    def end(self) -> None:
        """Go away."""
        self.protocol.connection_lost(None)


def ask(url: str, body: bytes, **headers: str) -> bytes:
    """Return a request as a client writes it."""
    lines = [f"POST {url} HTTP/1.1", "Host: services", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
