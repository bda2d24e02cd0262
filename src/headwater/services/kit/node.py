"""The guard of ``/internal/v1``: control and services on one machine know each other by the node token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from fastapi import Request

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home


def node_guard(home: Home) -> Callable[[Request], Awaitable[None]]:
    """Return a FastAPI dependency that lets only the holder of ``home.node_token`` pass."""

    async def guard(request: Request) -> None:
        try:
            token = home.node_token.read_bytes().strip()
        except FileNotFoundError:
            token = b""
        if not token:
            raise HeadwaterError("config_unavailable", "the node token does not exist yet", retry_after_seconds=1)
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, b"Bearer " + token):
            raise HeadwaterError("unauthenticated", "this address needs the node token")

    return guard
