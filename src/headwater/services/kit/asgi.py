"""The door of a services process: hot routes before FastAPI, and what every reply has in common."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.services.kit.fast_lane import SECURITY_HEADERS, SEEN, Call, FastLane, LaneHandler
from headwater.services.kit.hot_routes import HotRoutes
from headwater.services.kit.metrics import RequestMetrics
from headwater.services.kit.problem import internal_error, send_problem
from headwater.services.kit.request import CONTEXT, RequestContext, choose_request_id
from headwater.services.kit.service import Caller, HotHandler

_QUIET_ROUTES: Final = frozenset({"/livez", "/readyz", "/metrics"})
_SLOW_SECONDS: Final = 1.0

_log = get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)


class HandlerResponse(Response):
    """A raw handler as the response of a documented FastAPI route, so that both doors give the same answer."""

    def __init__(self, handler: HotHandler) -> None:
        """Answer with ``handler``; it gets the request's own scope, and its body unread."""
        super().__init__()
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the handler answer."""
        await self._handler(dict(scope), receive, send)


class Door:
    """The ASGI application that a server runs: ids, hot routes, problems, common headers, metrics and the log line."""

    def __init__(
        self,
        app: ASGIApp,
        hot_routes: Mapping[tuple[str, str], HotHandler],
        metrics: RequestMetrics,
        lane_routes: Mapping[tuple[str, str], LaneHandler] | None = None,
    ) -> None:
        """Stand in front of ``app``; connections send what is for ``lane_routes`` past it once they know how."""
        self.app = app
        self._hot = HotRoutes(hot_routes)
        self._metrics = metrics
        self.lane = FastLane(lane_routes or {}, self._account)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        reply = _Reply(send, RequestContext(choose_request_id(scope["headers"])))
        scope[CONTEXT] = reply.context
        matched = self._hot.match(scope["method"], scope["path"])
        handler: Callable[..., Awaitable[None]] = self.app
        if matched is not None:
            route, scope["path_params"] = matched
            handler = route.handler
        try:
            _refuse_transfer_codings(scope)
            await handler(scope, receive, reply.send)
        except Exception as error:  # noqa: BLE001 - this is where every error becomes an answer
            await _answer(scope, reply, error)
        seconds = time.perf_counter() - began
        template = matched[0].template if matched is not None else _template(scope)
        self._metrics.observe(scope["method"], template, reply.status, seconds)
        if SEEN in scope and reply.status == HTTPStatus.OK:
            self.lane.remember(scope, template)
        if reply.status >= HTTPStatus.BAD_REQUEST or matched is None or seconds > _SLOW_SECONDS:
            _log_request(scope, reply.status, reply.context, template, seconds)
        elif _stdlib_log.isEnabledFor(logging.DEBUG):
            _log_request(scope, reply.status, reply.context, template, seconds, level=logging.DEBUG)

    def _account(self, call: Call, status: int, seconds: float, request_id: str, caller: Caller) -> None:
        """Count a reply that went past this door, and write its line of the log."""
        head = call.head
        self._metrics.observe(head.method, head.template, status, seconds)
        is_notable = status >= HTTPStatus.BAD_REQUEST or seconds > _SLOW_SECONDS
        if is_notable or _stdlib_log.isEnabledFor(logging.DEBUG):
            context = RequestContext(request_id)
            context.caller = caller
            scope = {"method": head.method, "path": head.path}
            level = logging.INFO if is_notable else logging.DEBUG
            _log_request(scope, status, context, head.template, seconds, level=level)


def _refuse_transfer_codings(scope: Scope) -> None:
    """Refuse a body in a transfer coding besides chunked: the server passes it on still encoded (RFC 9112 §6.1).

    HTTP/1.0 has no transfer codings: who sends one there may mean another end of the body than we find.
    """
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" and (value.strip().lower() != b"chunked" or scope.get("http_version") == "1.0"):
            raise HeadwaterError(
                "transfer_coding_unsupported",
                f"Transfer-Encoding {value[:40].decode('latin-1')!r}: only chunked is understood",
                hint="name a compression in Content-Encoding instead",
            )


class _Reply:
    """A reply under way: adds the common headers and remembers its status (0 until it began)."""

    __slots__ = ("_send", "context", "status")

    def __init__(self, send: Send, context: RequestContext) -> None:
        self._send = send
        self.context = context
        self.status = 0

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._with_common(message.get("headers") or [])
        await self._send(message)

    def _with_common(self, headers: Any) -> list[tuple[bytes, bytes]]:
        """Return the headers with the common ones that the handler did not set itself."""
        result = [*headers, *_missing(tuple([name for name, _value in headers]))]
        result.append((b"hw-request-id", self.context.request_id.encode()))
        caller = self.context.caller
        if caller is not None:
            result.append((b"hw-config-version", str(caller.environment.snapshot.number).encode()))
        return result


@lru_cache(maxsize=64)
def _missing(names: tuple[bytes, ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the common headers that are not among ``names``; a handler's replies have the same few names."""
    return tuple(pair for pair in SECURITY_HEADERS if pair[0] not in names)


async def _answer(scope: Scope, reply: _Reply, error: Exception) -> None:
    """Answer with the problem, unless the reply began already."""
    context: dict[str, Any] = scope  # type: ignore[assignment] # ASGI scopes are dictionaries
    if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return  # the framework answered and logged, and raises again for servers that want to know
    if reply.status:
        internal_error(scope, error)
        raise error
    known = error if isinstance(error, HeadwaterError) else internal_error(scope, error)
    await send_problem(context, reply.send, known)


def _template(scope: Scope) -> str:
    """Return the template of the FastAPI route that answered; never the path, which has no bound."""
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"


def _log_request(
    scope: Scope, status: int, context: RequestContext, template: str, seconds: float, *, level: int = logging.INFO
) -> None:
    if template in _QUIET_ROUTES:
        # Probes ask all the time; that something is not ready is their answer, and no failure of the request.
        level = logging.DEBUG
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        level = logging.WARNING
    elif scope["path"].startswith("/internal/") and (status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.NOT_FOUND):
        # Control asks again and again, also for what is not there yet, and writes down itself what it was told.
        level = logging.DEBUG
    if not _stdlib_log.isEnabledFor(level):
        return
    caller = context.caller
    _log.log(
        level,
        "request",
        method=scope["method"],
        path=scope["path"],
        status=int(status),
        ms=round(seconds * 1_000, 2),
        principal=caller.key.principal_id if caller is not None else None,
        request_id=context.request_id,
    )
