"""A circuit breaker: a server that failed several times in a row is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FAILURES: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0


class CircuitBreaker:
    """Counts failures in a row. After a pause one try is let through; each that fails doubles the next pause."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin closed; ``clock`` gives seconds that only grow."""
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self.reason: str | None = None
        """Why it is open, None while it is closed."""

    @property
    def seconds_left(self) -> float:
        """Return how long the pause still lasts."""
        return max(self._open_until - self._clock(), 0.0)

    def lets_through(self) -> bool:
        """Return whether to try. While it is open, one caller gets True after each pause."""
        if self.reason is None:
            return True
        if self._clock() < self._open_until:
            return False
        self._open_until = self._clock() + self._pause()  # until the try has its result, others wait
        return True

    def succeeded(self) -> None:
        """Close it."""
        self._failures = 0
        self.reason = None

    def failed(self, reason: str) -> None:
        """Count a failure, and open it if that is one too many."""
        self._failures += 1
        if self._failures >= FAILURES:
            self.reason = reason
            self._open_until = self._clock() + self._pause()

    def _pause(self) -> float:
        return float(min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - FAILURES, 10), MAX_PAUSE_SECONDS))
