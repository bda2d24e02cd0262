"""What the client for asyncio knows of live results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from headwater.client.live import Following, Table
from headwater.client.retry import RetryPolicy


class AsyncLiveMethods:
    """Watching endpoints."""

    _http: httpx.AsyncClient
    _retry: RetryPolicy

    async def live(self, endpoint: str, params: Mapping[str, Any] | None = None) -> AsyncGenerator[Table]:
        """Watch a SQL endpoint: yield its rows as they are, and again whenever they change, until closed."""
        following = Following(str(self._http.base_url), endpoint, params, self._retry)
        while True:
            outcome: httpx.Response | httpx.TransportError | None = None
            following.begin()
            try:
                async with self._http.stream(
                    "GET", following.path, params=following.params, headers=following.headers, timeout=following.timeout
                ) as response:
                    if response.is_success:
                        async for chunk in response.aiter_raw():
                            for table in following.take(chunk):
                                yield table
                    else:
                        await response.aread()
                        outcome = response
            except httpx.TransportError as error:
                outcome = error
            await asyncio.sleep(following.pause(outcome))
