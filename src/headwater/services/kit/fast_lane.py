"""The fast lane: requests whose head is known go from the socket to their handler and back in one step.

A client that keeps its connection sends the same head over and over, byte for byte; only bodies differ. Once such a
head was parsed and its request answered with success, ``FastLane`` remembers what it meant. When the very same bytes
come again with their whole body behind them, nothing is left to parse: the handler gets a ``Call``, a plain function
call in place of a task, a scope and two messages, and replies at once, or when a batch has run.

Everything else takes the long way, through uvicorn and ``Door``: heads that are new, bodies that come in pieces or in a
coding, requests behind another that is under way, and whatever the handler declines. So a handler of the lane speaks
of success alone: what it does not understand, or would refuse, it declines before it has done anything, and the long
way, which knows all of HTTP and every error, decides about the same bytes. Both ways write the same replies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, runtime_checkable

from headwater.services.kit.service import Caller

SEEN: Final = "headwater.seen"
"""In the scope of a request that came whole, at once: the bytes of its head, and the length of what follows them."""

MAX_HEAD_BYTES: Final = 4 << 10
MAX_BODY_BYTES: Final = 256 << 10  # what one read of a socket gives at most
MAX_HEADS: Final = 2_048
# The heads of one client have the same values in these, but for the length of the body. A header that differs from
# request to request, such as traceparent, would only fill the memory; whatever else there is may mean anything.
STABLE: Final = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"hw-timeout-ms",
        b"inference-header-content-length",
        b"user-agent",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_COMMON: Final = b"".join(b"%b: %b\r\n" % header for header in SECURITY_HEADERS)
_IDENTITY: Final = frozenset({b"authorization", b"x-forwarded-for"})
_CLOSE: Final = b"connection: close\r\n"

LaneHandler = Callable[["Call"], bool]
"""Takes a call and returns True; or declines it with False, and then has done nothing."""

Account = Callable[["Call", int, float, str, Caller], None]
"""Told of each reply: the call, its status, its seconds, the id of the request, and who asked."""


@runtime_checkable
class Quick(Protocol):
    """A service some of whose hot routes have a handler in the lane as well."""

    def lane_routes(self) -> Mapping[tuple[str, str], LaneHandler]:
        """Return handlers by (method, path template), as ``hot_routes`` has them."""
        ...


class Head:
    """What the bytes of a head mean; ``identity`` are its headers that say who asks."""

    __slots__ = ("handler", "headers", "identity", "length", "method", "parameters", "path", "template")

    def __init__(self, handler: LaneHandler, scope: Mapping[str, Any], template: str, length: int) -> None:
        """Remember the head of ``scope``, behind which ``length`` bytes of body follow."""
        self.handler = handler
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.identity: Sequence[tuple[bytes, bytes]] = [item for item in scope["headers"] if item[0] in _IDENTITY]
        self.length = length
        self.method: str = scope["method"]
        self.parameters: Mapping[str, str] = dict(scope["path_params"])
        self.path: str = scope["path"]
        self.template = template


class Line(Protocol):
    """The connection that a call came on."""

    client: tuple[str, int] | None

    def first_lines(self, status: int) -> bytes:
        """Return the status line and the headers that all replies of the server begin with."""
        ...

    def finish(self, call: Call, reply: bytes) -> None:
        """Write the whole reply and go on with what came meanwhile."""
        ...


class Call:
    """One request in the lane. To uvicorn's protocol it is the cycle that is under way, so others wait behind it."""

    __slots__ = (
        "_account",
        "_line",
        "began",
        "body",
        "disconnected",
        "head",
        "keep_alive",
        "on_gone",
        "response_complete",
    )

    scope: Final = None

    def __init__(self, line: Line, account: Account, head: Head, body: bytes) -> None:
        """Begin; ``on_gone`` may be set to what is to be done when the client goes before it was answered."""
        self.head = head
        self.body = body
        self.began = time.monotonic()
        self.on_gone: Callable[[], None] | None = None
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self._line = line
        self._account = account

    @property
    def client(self) -> tuple[str, int] | None:
        """Return the address that the call came from."""
        return self._line.client

    @property
    def message_event(self) -> Call:
        """Return what uvicorn sets in order to wake who reads a body; here nobody does."""
        return self

    def set(self) -> None:
        """Wake nobody."""

    def reply(
        self, lines: bytes, body: bytes, *, request_id: str, caller: Caller, now: float, status: int = HTTPStatus.OK
    ) -> None:
        """Answer; a client that has gone is spared the reply.

        Args:
            lines: the reply's own headers, those before the length of its body.
            body: the body.
            request_id: the id of the request.
            caller: who asked.
            now: this instant of ``time.monotonic``.
            status: the status.
        """
        if not self.disconnected:
            # In the order of the long way.
            reply = b"%b%bcontent-length: %d\r\n%bhw-request-id: %b\r\nhw-config-version: %d\r\n%b\r\n%b" % (
                self._line.first_lines(status),
                lines,
                len(body),
                _COMMON,
                request_id.encode(),
                caller.environment.snapshot.number,
                b"" if self.keep_alive else _CLOSE,
                body,
            )
            self._line.finish(self, reply)
        self.response_complete = True
        self._account(self, status, now - self.began, request_id, caller)


class FastLane:
    """The heads that are known, and the routes that have a place in the lane. Used from one event loop."""

    __slots__ = ("_handlers", "account", "known")

    def __init__(self, handlers: Mapping[tuple[str, str], LaneHandler], account: Account) -> None:
        """Send calls to ``handlers`` by (method, path template), and tell ``account`` of their replies."""
        self._handlers = handlers
        self.account = account
        self.known: dict[bytes, Head] = {}

    def remember(self, scope: MutableMapping[str, Any], template: str) -> None:
        """Remember the head of a request that was answered with success the long way, if others can be like it."""
        raw, length = scope[SEEN]
        handler = self._handlers.get((scope["method"], template))
        if handler is None or scope["query_string"] or scope["http_version"] != "1.1":
            return
        if len(raw) > MAX_HEAD_BYTES or length > MAX_BODY_BYTES:
            return
        head = Head(handler, scope, template, length)
        names = head.headers.keys()
        if not names <= STABLE or len(names) != len(scope["headers"]):
            return
        if head.headers.get(b"content-length") != b"%d" % length:
            return  # more than one request came, or the body is not as long as it seems
        if head.headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return
        if len(self.known) >= MAX_HEADS:
            self.known.clear()
        self.known[raw] = head
