"""The protocol of a connection: uvicorn's own, with bounds on what comes before a body, and the entrance to the lane.

Its parser collects headers, and trailers behind a body, without end, and waits for them without end: both before
anything of ours hears of the request. And it waits without end for a client to take its reply, with all that was
needed for it held meanwhile.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.services.kit.exchange import ON_STOP, Exchange
from headwater.services.kit.fast_lane import SEEN, Call, FastLane
from headwater.services.kit.problem import problem_body, problem_headers

MAX_HEAD_BYTES: Final = 64 << 10
HEAD_SECONDS: Final = 30.0
TAKE_SECONDS: Final = 60.0
END_SECONDS: Final = 2.0
_END_OF_HEAD: Final = b"\r\n\r\n"


class BoundedConnection(HttpToolsProtocol):
    """Gives up on a request line with headers that is too long or too slow, and on a reply that nobody takes.

    Whoever reads a body bounds that.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Begin as uvicorn's protocol does."""
        super().__init__(*arguments, **options)
        self._unclaimed = 0  # bytes since a head or a piece of a body was complete
        self._heard: Any = None  # the request whose head was complete last
        self._patience: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._untaken = 0  # bytes of a reply that the client had left when it was last looked at
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._stop_looking()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Look now and then whether the client takes anything of its reply: what works on it waits for that."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """Stop looking: enough was taken."""
        super().resume_writing()
        self._stop_looking()

    def on_response_complete(self) -> None:
        """Go on with the next request, or see off a client that has not taken the last bytes yet."""
        super().on_response_complete()
        self._see_off()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that is idle."""
        super().timeout_keep_alive_handler()
        self._see_off()

    def shutdown(self) -> None:
        """Close once the reply under way is complete; end one that would go on, and not wait long for its client."""
        super().shutdown()
        request: Any = self.cycle
        end = request.scope.get(ON_STOP) if request is not None and request.scope is not None else None
        if end is not None:
            end()
            self.loop.call_later(END_SECONDS, self.transport.abort)
        self._see_off()

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
        elif self._patience is None and (self._is_in_head or request is None or request.response_complete):
            # Another one has begun. Or what came is of no use to anybody, such as an empty line or the rest of a body
            # that was refused, and has stopped uvicorn's timer for connections that are idle.
            self._expect_head()

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that it is complete."""
        self._is_in_head = False
        super().on_headers_complete()

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
        self._see_off()

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

    def _see_off(self) -> None:
        """Look after what a closed connection still has to write: less than pauses writing, and waited for in vain."""
        if self._look is None and self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._look_later()

    def _look_later(self) -> None:
        self._untaken = self.transport.get_write_buffer_size()
        self._look = self.loop.call_later(TAKE_SECONDS, self._look_at_writing)

    def _look_at_writing(self) -> None:
        if self.transport.get_write_buffer_size() < self._untaken:
            self._look_later()
        else:
            self.transport.abort()

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _expect_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        request: Any = self.cycle
        if request is not None and not self._is_in_head:
            self._stop_waiting()
            self.transport.close()  # whatever was asked was answered
            self._see_off()
            return
        self._give_up(f"no complete request came within {HEAD_SECONDS:g} s")

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class LaneConnection(BoundedConnection):
    """Takes requests of known heads into the fast lane; parses the others, and has their heads remembered."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Begin as uvicorn's protocol does."""
        super().__init__(*arguments, **options)
        self._lane: FastLane | None = None if self.limit_concurrency is not None else getattr(self.app, "lane", None)
        self._call: Call | None = None  # the one under way in the lane
        self._is_between = True  # the parser has seen the end of a message, and nothing of another
        self._begun = 0
        self._idle_since: float | None = None
        self._first_lines: tuple[Any, dict[int, bytes]] = (None, {})

    def data_received(self, data: bytes) -> None:
        """Take a whole request with a known head into the lane; all else is parsed."""
        lane = self._lane
        before: Any = self.cycle
        if lane is None or not self._is_between or (before is not None and not before.response_complete):
            super().data_received(data)
            return
        end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        raw, length = data[:end], len(data) - end
        head = lane.known.get(raw)
        if head is not None and head.length == length and self._take(Call(self, lane.account, head, data[end:])):
            return
        begun = self._begun
        super().data_received(data)
        if head is None and self._begun == begun + 1 and self.cycle is not before:
            self._note(raw, length)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works on an answer that nobody waits for it."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        call, self._call = self._call, None
        if call is not None:
            call.disconnected = True
            if call.on_gone is not None:
                call.on_gone()

    def on_message_begin(self) -> None:
        """Note that the parser is within a message."""
        self._is_between = False
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that it is within none, unless no other may follow."""
        super().on_message_complete()
        self._is_between = self.cycle.keep_alive

    def first_lines(self, status: int) -> bytes:
        """Return the status line and the headers that all replies of the server begin with."""
        headers, lines = self._first_lines
        if headers is not self.server_state.default_headers:
            headers, lines = self._first_lines = (self.server_state.default_headers, {})
        found = lines.get(status)
        if found is None:
            found = lines[status] = STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % header for header in headers)
        return found

    def finish(self, call: Call, reply: bytes) -> None:
        """Write the whole reply of a call and go on with what came meanwhile."""
        self._call = None
        call.response_complete = True
        self.transport.write(reply)
        if not call.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on with a request that waits, or wait for one: a timer for all waits, not one for each as in uvicorn."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._see_off()
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wake_in(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long; look again later at one that was not."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # the reply that is due sets the timer anew
        rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self._wake_in(rest)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _wake_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _note(self, raw: bytes, length: int) -> None:
        """Have the head of the one request that came remembered, should it turn out well: its task begins later."""
        if self._is_between:
            self.cycle.scope[SEEN] = (raw, length)  # type: ignore[typeddict-unknown-key]

    def _take(self, call: Call) -> bool:
        """Give a call to its handler; return whether that took it."""
        if self.transport.is_closing() or self.flow.write_paused:
            return False
        before = self.cycle
        self._unset_keepalive_if_required()
        self.cycle = self._call = call  # type: ignore[assignment] # it has what the protocol asks of a cycle
        if not call.head.handler(call):
            self.cycle, self._call = before, None
            return False
        self._heard = call
        self._unclaimed = 0
        if self._patience is not None:
            self._stop_waiting()
        return True
