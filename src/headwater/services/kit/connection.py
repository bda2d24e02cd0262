"""The protocol of a connection: uvicorn's own, with bounds on what comes before a body.

Its parser collects headers, and trailers behind a body, without end, and waits for them without end: both before
anything of ours hears of the request.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.services.kit.exchange import Exchange
from headwater.services.kit.problem import problem_body, problem_headers

MAX_HEAD_BYTES: Final = 64 << 10
HEAD_SECONDS: Final = 30.0


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
        super().connection_made(transport)
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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, Exchange(cycle, app))  # type: ignore[arg-type] # it is an ASGI application

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
