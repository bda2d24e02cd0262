"""A Valkey or Redis that all workers share. It may be slow, full or gone: all works then as if there were none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import redis.asyncio
from redis.exceptions import RedisError

from headwater.core.logging import get_logger
from headwater.services.kit.metrics import Tally

T = TypeVar("T")
TIMEOUT_SECONDS: Final = 0.1
CONNECT_SECONDS: Final = 0.5
_REST_SECONDS: Final = 1.0
_LONGEST_REST_SECONDS: Final = 30.0
_PREFIX: Final = b"hwq:"

_log = get_logger(__name__)


class SharedStore:
    """Calls with a short deadline; one that fails keeps the next from being tried for a while. One event loop."""

    def __init__(self, url: str | None) -> None:
        """Use the server that ``url`` names, reached when first needed; None: there is none."""
        self._url = url
        self._client: Any = None
        self._rests_until = 0.0
        self._failures = 0
        self.calls = Tally("headwater_query_shared_calls", "Calls of the shared store by outcome.", ("outcome",))

    @property
    def is_usable(self) -> bool:
        """Return whether there is a server, and it did not just fail."""
        return self._url is not None and time.monotonic() >= self._rests_until

    @property
    def problem(self) -> str | None:
        """Return what is wrong with the server."""
        if not self._failures:
            return None
        return "the shared store of query results does not answer; each worker keeps results and counts by itself"

    async def get(self, key: bytes) -> bytes | None:
        """Return a value; None also while the server cannot be asked."""
        found: bytes | None = await self._call(lambda client: client.get(_PREFIX + key))
        return found

    async def put(self, key: bytes, value: bytes, *, seconds: float) -> None:
        """Keep a value for so long, if the server can."""
        await self._call(lambda client: client.set(_PREFIX + key, value, px=int(seconds * 1_000)))

    async def claim(self, key: bytes, *, seconds: float) -> bool:
        """Return whether nobody else claimed ``key`` within so many seconds; True while there is no server to ask."""
        if not self.is_usable:
            return True
        won = await self._call(lambda client: client.set(_PREFIX + key, b"1", nx=True, px=int(seconds * 1_000)))
        return bool(won) or self._failures > 0

    async def let_go(self, key: bytes) -> None:
        """Give a claim or a value up."""
        await self._call(lambda client: client.delete(_PREFIX + key))

    async def run(self, script: str, key: bytes, *arguments: float | bytes) -> list[int] | None:
        """Return what a Lua script makes of ``key``; None while the server cannot be asked."""
        found: list[int] | None = await self._call(lambda client: client.eval(script, 1, _PREFIX + key, *arguments))
        return found

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _call(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        if not self.is_usable:
            return None
        seconds = TIMEOUT_SECONDS
        if self._client is None:
            seconds = CONNECT_SECONDS
            self._client = redis.asyncio.Redis.from_url(
                str(self._url), socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS, retry=None
            )
        try:
            async with asyncio.timeout(seconds):
                value = await call(self._client)
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            self._fail(error)
            return None
        self._failures = 0
        self.calls.add(("answered",))
        return value

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        rest = min(_LONGEST_REST_SECONDS, _REST_SECONDS * 2 ** min(self._failures - 1, 6))
        self._rests_until = time.monotonic() + rest
        self.calls.add(("failed",))
        _log.warning("shared_store_failed", error=str(error) or type(error).__name__, again_in_seconds=rest)
