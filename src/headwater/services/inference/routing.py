"""Which version answers: shares of the traffic drawn by a key, so that the same key has the same version."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from headwater.services.inference.version import ServedVersion

ROUTE_NAMES: Final = {"primary": "champion", "canary": "canary", "shadow": "shadow"}
WHOLE_BPS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Route:
    """A loaded version with its share of the traffic, in basis points of all that is routed."""

    version: ServedVersion
    name: str
    weight_bps: int


class Table:
    """The routes among which a request's key draws."""

    __slots__ = ("_total", "routes")

    def __init__(self, routes: Sequence[Route]) -> None:
        """Draw by the weights of ``routes``."""
        self.routes = tuple(routes)
        self._total = sum(route.weight_bps for route in routes)

    def point(self, key: bytes) -> int:
        """Return where a key falls among all weights."""
        return zlib.crc32(key) % self._total

    def choose(self, key: bytes) -> Route:
        """Return the route that a key falls on."""
        point = self.point(key)
        for route in self.routes:
            point -= route.weight_bps
            if point < 0:
                return route
        return self.routes[-1]

    def explain(self, key: bytes, drawn_by: str) -> dict[str, Any]:
        """Return how a request was routed, for who asks."""
        return {
            "drawn_by": drawn_by,
            "point": self.point(key) if len(self.routes) > 1 else None,
            "routes": [
                {"version": route.version.number, "route": route.name, "weight_bps": route.weight_bps}
                for route in self.routes
            ],
        }


def is_sampled(key: bytes, weight_bps: int) -> bool:
    """Return whether a request belongs to the share that a shadow sees."""
    return weight_bps >= WHOLE_BPS or zlib.crc32(key) % WHOLE_BPS < weight_bps
