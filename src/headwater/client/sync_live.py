"""What the client that blocks knows of live results."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any

import httpx

from headwater.client.live import Following, Table
from headwater.client.retry import RetryPolicy


class LiveMethods:
    """Watching endpoints."""

    _http: httpx.Client
    _retry: RetryPolicy

    def live(self, endpoint: str, params: Mapping[str, Any] | None = None) -> Generator[Table]:
        """Watch a SQL endpoint: yield its rows as they are, and again whenever they change, until closed.

        It is one table that is yielded each time, brought up to date. While there is no newer result its ``problem``
        says why. A stream that breaks is opened again, and goes on where it was.

        Raises:
            ApiError: the endpoint may not be watched, or not any more.
            Unreachable: no stream could be opened, after every retry.
        """
        following = Following(str(self._http.base_url), endpoint, params, self._retry)
        while True:
            outcome: httpx.Response | httpx.TransportError | None = None
            following.begin()
            try:
                with self._http.stream(
                    "GET", following.path, params=following.params, headers=following.headers, timeout=following.timeout
                ) as response:
                    if response.is_success:
                        for chunk in response.iter_raw():
                            yield from following.take(chunk)
                    else:
                        response.read()
                        outcome = response
            except httpx.TransportError as error:
                outcome = error
            time.sleep(following.pause(outcome))
