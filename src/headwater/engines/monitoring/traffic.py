"""The requests of a version in some span of time: how many, how slow, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

_DECADE: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0)
BOUNDS_US: Final = tuple(step * 10.0**power for power in range(1, 8) for step in _DECADE)
"""Upper bounds of the buckets of latencies in microseconds: 10 µs to 80 s, and one bucket for what is slower."""
_BOUNDS: Final = np.array(BOUNDS_US)


class Traffic(msgspec.Struct, array_like=True):
    """Counts that add up. ``requests`` includes failures; ``latencies``, by bucket, does not."""

    requests: int = 0
    rows: int = 0
    by_code: dict[str, int] = {}
    by_route: dict[str, int] = {}
    latencies: list[int] = []

    @property
    def errors(self) -> int:
        """Return how many requests were not answered; ``requests`` counts them too."""
        return sum(self.by_code.values())

    def add(self, routes: Sequence[str], rows: int, latencies_us: Sequence[int]) -> None:
        """Count answered requests: route and latency of each, and all their rows."""
        self.requests += len(routes)
        self.rows += rows
        places = _BOUNDS.searchsorted(latencies_us)
        self.latencies = _sum(self.latencies, np.bincount(places, minlength=len(BOUNDS_US) + 1).tolist())
        for route, count in Counter(routes).items():
            self.by_route[route] = self.by_route.get(route, 0) + count

    def fail(self, code: str, requests: int = 1) -> None:
        """Count requests that were not answered."""
        self.requests += requests
        self.by_code[code] = self.by_code.get(code, 0) + requests

    def merge(self, other: Traffic) -> None:
        """Add what another counted."""
        self.requests += other.requests
        self.rows += other.rows
        self.latencies = _sum(self.latencies, other.latencies)
        for mine, theirs in ((self.by_code, other.by_code), (self.by_route, other.by_route)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def quantile_ms(self, share: float) -> float | None:
        """Return the latency that ``share`` of the answers stay within, interpolated in its bucket; None without."""
        total = sum(self.latencies)
        wanted = share * total
        seen = 0
        for at, count in enumerate(self.latencies):
            if count and seen + count >= wanted:
                least = BOUNDS_US[at - 1] if at else 0.0
                most = BOUNDS_US[min(at, len(BOUNDS_US) - 1)]
                return round((least + (most - least) * (wanted - seen) / count) / 1_000, 3)
            seen += count
        return None

    def to_bytes(self) -> bytes:
        """Return the counts as they are stored."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Traffic:
        """Return what ``to_bytes`` wrote; ``msgspec.MsgspecError`` when it is something else."""
        return msgspec.msgpack.decode(data, type=cls)


def _sum(one: Sequence[int], other: Sequence[int]) -> list[int]:
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    padded = [*shorter, *([0] * (len(longer) - len(shorter)))]
    return [a + b for a, b in zip(longer, padded, strict=True)]
