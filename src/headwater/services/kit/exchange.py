"""The short way for a request and its reply: a body that is there already, and a reply that leaves in one write.

Everything out of the ordinary goes through uvicorn's own cycle, which knows all of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

TAKE_BODY: Final = "headwater.take_body"
"""In the scope of a request: a function that takes its body if all of it is there, and returns None if not."""

WRITE_NOW: Final = "headwater.write_now"
"""In the scope of a request: a function that writes a framed chunk of the reply that has begun, if it can do so now."""

ON_STOP: Final = "headwater.on_stop"
"""In the scope of a reply that goes on until its client leaves: what ends it when the server stops."""

_JOINED_BYTES: Final = 64 << 10  # a larger body is not worth copying
_CONTROL: Final = bytes(code for code in (*range(0x20), 0x7F) if code != ord("\t"))
_PLAIN_NAMES: Final[set[bytes]] = set()
_MAX_PLAIN_NAMES: Final = 256
_FRAMING: Final = frozenset({b"connection", b"transfer-encoding"})


class Exchange:
    """An application as one request meets it."""

    __slots__ = ("_app", "_cycle", "_start")

    def __init__(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Stand between uvicorn's ``cycle`` and ``app``."""
        self._cycle = cycle
        self._app = app
        self._start: MutableMapping[str, Any] | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Let the application answer."""
        del send
        scope[TAKE_BODY] = self.take_body
        scope[WRITE_NOW] = self.write_now
        try:
            await self._app(scope, receive, self.send)
        finally:
            # The cycle knows its scope: left there, every request would wait for the garbage collector.
            scope.pop(TAKE_BODY, None)
            scope.pop(WRITE_NOW, None)

    def take_body(self) -> bytes | None:
        """Return the body, which ``receive`` then has no more; None when it must be waited for with that."""
        cycle = self._cycle
        if cycle.more_body or cycle.waiting_for_100_continue or cycle.disconnected or cycle.response_complete:
            return None
        if not cycle.message_event.is_set():
            return None  # received already
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()
        return body

    def write_now(self, chunk: bytes) -> bool:
        """Write what ``frame_chunk`` made; False, and nothing is written, where ``send`` has to be waited for."""
        cycle = self._cycle
        is_open = cycle.chunked_encoding and not (cycle.disconnected or cycle.response_complete)
        if not is_open or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        cycle.transport.write(chunk)
        return True

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Hold the head of a reply until its body, as ASGI wants it, and send both together where that is simple."""
        cycle = self._cycle
        if message["type"] == "http.response.start" and self._start is None and not cycle.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            reply = self._join(start, message)
            if reply is not None:
                self._finish(reply)
                return
            await cycle.send(start)  # type: ignore[arg-type] # messages are dictionaries
        await cycle.send(message)  # type: ignore[arg-type]

    def _join(self, start: MutableMapping[str, Any], message: MutableMapping[str, Any]) -> bytes | None:
        """Return the bytes of a whole reply; None where it is not whole or not simple."""
        cycle = self._cycle
        body: bytes = message.get("body", b"")
        is_simple = (
            message["type"] == "http.response.body"
            and not message.get("more_body")
            and len(body) <= _JOINED_BYTES
            and cycle.keep_alive
            and not (cycle.disconnected or cycle.flow.write_paused or cycle.access_log)
            and cycle.scope["method"] != "HEAD"
        )
        if not is_simple:
            return None
        head = join_head(start["status"], (*cycle.default_headers, *start.get("headers", ())), len(body))
        return None if head is None else head + body

    def _finish(self, reply: bytes) -> None:
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(reply)
        cycle.message_event.set()
        cycle.on_response()


def frame_chunk(body: bytes) -> bytes:
    """Return a piece of a body, not an empty one, as the chunked coding has it: once for many replies."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def join_head(status: int, headers: Iterable[tuple[bytes, bytes]], length: int) -> bytes | None:
    """Return the head of a reply; None unless it declares a body of ``length`` bytes and nothing else about framing."""
    declared = b""
    lines = [STATUS_LINE[status][:-2]]
    for name, value in headers:
        if name not in _PLAIN_NAMES and not _is_plain(name):
            return None
        if name == b"content-length":
            if declared:
                return None
            declared = value
        lines.append(name + b": " + value)
    joined = b"".join(lines)
    if declared != b"%d" % length or len(joined.translate(None, _CONTROL)) != len(joined):
        return None
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def _is_plain(name: bytes) -> bool:
    """Return whether a name is lower-case, legal and without a meaning for the connection; those are remembered."""
    if name != name.lower() or name in _FRAMING or HEADER_RE.search(name):
        return False
    if len(_PLAIN_NAMES) < _MAX_PLAIN_NAMES:
        _PLAIN_NAMES.add(name)
    return True
