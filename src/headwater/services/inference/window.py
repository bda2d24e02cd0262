"""The last window of a version's traffic, in slices that fall out as time goes on: counts and latencies in lists."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

_DECADE: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0)
BOUNDS_US: Final[tuple[float, ...]] = tuple(step * 10.0**power for power in range(1, 8) for step in _DECADE)
"""Upper bounds of latency buckets in microseconds, ten for each power of ten: 10 µs to 80 s."""

_SLICES: Final = 12


class Window:
    """Answers, failures and latencies over the last ``seconds``, within a twelfth of it."""

    __slots__ = ("_buckets", "_codes", "_faults", "_number", "_slice_seconds", "seconds")

    def __init__(self, seconds: float, now: float) -> None:
        """Begin empty at ``now``, an instant of ``time.monotonic``."""
        self.seconds = seconds
        self._slice_seconds = seconds / _SLICES
        self._number = int(now / self._slice_seconds)
        self._buckets: list[list[int]] = [_empty() for _ in range(_SLICES)]
        self._faults = [0] * _SLICES
        self._codes: list[dict[str, int]] = [{} for _ in range(_SLICES)]

    def answered(self, now: float, bucket: int) -> bool:
        """Count an answer with a latency in ``bucket``; return whether a new slice began with it."""
        number = int(now / self._slice_seconds)
        has_moved = number != self._number
        if has_moved:
            self._forget(number)
        self._buckets[number % _SLICES][bucket] += 1
        return has_moved

    def failed(self, now: float, code: str, *, is_fault: bool) -> None:
        """Count a request that was not answered; ``is_fault`` says that the version is to blame."""
        number = int(now / self._slice_seconds)
        self._forget(number)
        codes = self._codes[number % _SLICES]
        codes[code] = codes.get(code, 0) + 1
        self._faults[number % _SLICES] += is_fault

    def counts(self, now: float) -> tuple[int, int]:
        """Return how many requests the version had to answer, and how many of these it failed."""
        self._forget(int(now / self._slice_seconds))
        faults = sum(self._faults)
        return sum(map(sum, self._buckets)) + faults, faults

    def by_code(self, now: float) -> dict[str, int]:
        """Return the requests that were not answered, by code: the callers' own mistakes too."""
        self._forget(int(now / self._slice_seconds))
        total: dict[str, int] = {}
        for codes in self._codes:
            for code, count in codes.items():
                total[code] = total.get(code, 0) + count
        return total

    def quantiles_ms(self, now: float, *shares: float) -> list[float | None]:
        """Return the latencies that these shares of the answers stay within, None without answers."""
        self._forget(int(now / self._slice_seconds))
        totals = [sum(column) for column in zip(*self._buckets, strict=True)]
        return [quantile_ms(totals, share) for share in shares]

    def _forget(self, number: int) -> None:
        """Empty the slices that time has gone past."""
        for gone in range(max(self._number + 1, number - _SLICES + 1), number + 1):
            self._buckets[gone % _SLICES] = _empty()
            self._faults[gone % _SLICES] = 0
            self._codes[gone % _SLICES] = {}
        self._number = max(number, self._number)


def bucket_of(latency_us: float) -> int:
    """Return the bucket of a latency; the last is for all that is slower than every bound."""
    return bisect_left(BOUNDS_US, latency_us)


def quantile_ms(buckets: Sequence[int], share: float) -> float | None:
    """Return the latency that ``share`` of the requests stay within, interpolated in its bucket."""
    total = sum(buckets)
    if not total:
        return None
    wanted = share * total
    seen = 0
    for at, count in enumerate(buckets):
        if count and seen + count >= wanted:
            least = BOUNDS_US[at - 1] if at else 0.0
            most = BOUNDS_US[at] if at < len(BOUNDS_US) else least
            return float(round((least + (most - least) * (wanted - seen) / count) / 1_000, 3))
        seen += count
    return float(BOUNDS_US[-1] / 1_000)


def _empty() -> list[int]:
    return [0] * (len(BOUNDS_US) + 1)
