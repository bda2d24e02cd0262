"""The protocol of a connection: uvicorn's own, with bounds on what comes before a body.

Its parser collects headers, and trailers behind a body, without end, and waits for them without end: both before
anything of ours hears of the request.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.services.kit.problem import problem_body, problem_headers

MAX_HEAD_BYTES: Final = 64 << 10
HEAD_SECONDS: Final = 30.0
_HEAD: Final = b"HTTP/1.1 "
_JOINED_BYTES: Final = 64 << 10  # a larger body is not worth copying


class JoinedWrites:
    """A transport that holds the head of a reply until its body, so that both leave in one system call.

    A reply whose body takes longer than this turn of the event loop does not wait: its head goes first.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Write to ``transport``."""
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Hold a head; send anything else behind what is held."""
        if self._held and len(data) <= _JOINED_BYTES:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif self._held:
            self._flush()
            self._transport.write(data)
        elif data.startswith(_HEAD):
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedConnection(HttpToolsProtocol):
    """Gives up on a request line with headers that is too long or too slow. Whoever reads a body bounds that."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Begin as uvicorn's protocol does."""
        super().__init__(*arguments, **options)
        self._unclaimed = 0  # bytes since a head or a piece of a body was complete
        self._heard: Any = None  # the request whose head was complete last
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for the first request, but not for ever."""
        joined: Any = JoinedWrites(transport, self.loop)
        super().connection_made(joined)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and give up when too much of it leads to nothing."""
        self._unclaimed += len(data)
        super().data_received(data)
        request: Any = self.cycle
        if request is not self._heard:
            self._heard = request
            self._unclaimed = 0
            self._stop_waiting()
        if self._unclaimed > MAX_HEAD_BYTES:
            self._give_up(f"the request line and headers are longer than {MAX_HEAD_BYTES:,} bytes")
        elif self._patience is None and (request is None or request.scope is not self.scope):
            self._expect_head()  # another one has begun

    def on_body(self, body: bytes) -> None:
        """Count anew."""
        self._unclaimed = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as every other error is answered, and close."""
        error = HeadwaterError("invalid_header", msg, hint="send HTTP/1.1 as RFC 9112 has it")
        body = problem_body(error, instance="", request_id=new_id("req"))
        headers = [*problem_headers(error), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[HTTPStatus.BAD_REQUEST] + head + b"\r\n" + body)
        self.transport.close()

    def _give_up(self, why: str) -> None:
        """Answer, unless another answer is under way, and close."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.cycle and not self.cycle.response_complete:
            self.transport.close()
        else:
            self.send_400_response(why)

    def _expect_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        self._give_up(f"no complete request came within {HEAD_SECONDS:g} s")

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
