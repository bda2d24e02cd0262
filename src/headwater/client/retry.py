"""When to try again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import httpx

from headwater.client.errors import retry_after

#: Answers that promise nothing was stored. 409 is only retried while a request with the same key is in progress.
BUSY: Final = frozenset({408, 429, 503})
GATEWAY: Final = frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter; a ``Retry-After`` of the server wins.

    Attributes:
        attempts: how often a request is sent at most.
        first_seconds: the longest wait before the second attempt; it doubles with each further one.
        longest_seconds: no wait is longer, whatever the server asks for.
    """

    attempts: int = 8
    first_seconds: float = 0.25
    longest_seconds: float = 30.0

    def wait_seconds(self, attempt: int, response: httpx.Response | None) -> float:
        """Return how long to wait after attempt number ``attempt`` (from 1) failed."""
        asked = retry_after(response.headers) if response is not None else None
        if asked is not None:
            return min(self.longest_seconds, asked + random.uniform(0, 0.1))  # noqa: S311 - jitter, no secret
        ceiling = min(self.longest_seconds, self.first_seconds * 2.0 ** (attempt - 1))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter, no secret


def may_retry(outcome: httpx.Response | httpx.TransportError, *, repeatable: bool) -> bool:
    """Return whether sending again may help and cannot do anything twice.

    Args:
        outcome: the answer, or the failure to get one.
        repeatable: sending the request twice has the effect of sending it once.
    """
    if isinstance(outcome, httpx.TransportError):
        never_sent = isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        return never_sent or (repeatable and not isinstance(outcome, httpx.UnsupportedProtocol))
    if outcome.status_code in BUSY:
        return True
    if outcome.status_code == httpx.codes.CONFLICT:
        return b'"idempotency_in_progress"' in outcome.content
    return repeatable and outcome.status_code in GATEWAY
