"""The gate before a file's routes: who calls is known, and may, before a byte of the body is read."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater.core.errors import HeadwaterError
from headwater.services.custom.access import PLATFORM, demand
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import Runtime

PERMISSION: Final = "route.invoke"
MAX_BODY_BYTES: Final = 16 << 20
_POLICY_VIOLATION: Final = 1008  # RFC 6455 §7.4.1


@dataclass(frozen=True, slots=True)
class _Template:
    """What metrics and log lines call a route."""

    path: str


class Gate:
    """Lets the project's own callers with ``route.invoke`` on the file through to its routes; the public ones, all."""

    def __init__(self, runtime: Runtime, name: str, app: ASGIApp, public: APIRouter | None) -> None:
        """Stand before ``app``, which serves the file ``name`` with its ``public`` routes among them."""
        self._runtime = runtime
        self._name = name
        self._app = app
        self._public = public.routes if public is not None else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; WebSockets are refused."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        if not any(route.matches(scope)[0] is Match.FULL for route in self._public):
            self._admit(scope)
        inner = {**scope, PLATFORM: scope["app"]}
        try:
            await self._app(inner, _bounded(receive), send)
        finally:
            path = getattr(inner.get("route"), "path", "/{rest}")
            scope["route"] = _Template(f"/x/{self._name}{path}")

    def _admit(self, scope: Scope) -> None:
        """Let the caller pass or raise ``unauthenticated``, ``not_found`` or ``forbidden``."""
        caller = authenticate(self._runtime, scope)
        target = self._runtime.settings.target
        environment = caller.environment.snapshot.environment
        if (environment.organization, environment.project) != (target.organization, target.project):
            raise HeadwaterError("not_found", f"there is nothing at {scope['path']} in {environment.project}")
        demand(caller, PERMISSION, self._name)


def _bounded(receive: Receive) -> Receive:
    """Return ``receive`` with an end: beyond it the answer is 413, in the form that FastAPI passes on."""
    left = MAX_BODY_BYTES

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {MAX_BODY_BYTES:,} bytes here")
        return message

    return bounded
