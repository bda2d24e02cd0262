"""How versions do at the moment, and taking traffic from one that does badly: at once, and here alone.

Control makes durable what is decided here; until it does, or refuses to, this process keeps to it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from headwater.core.logging import get_logger
from headwater.core.snapshot import RollbackSpec

if TYPE_CHECKING:
    from headwater.services.inference.models import CompiledModels, ServedModel
    from headwater.services.inference.version import ServedVersion

FAULTS: Final = frozenset({"internal", "model_failed", "model_timeout", "model_unavailable"})
"""Codes that speak against a version; all others are the caller's mistake, or tell of too much traffic."""

_log = get_logger(__name__)


class Live:
    """What a model's requests have in common while it is served, whatever configuration they began with."""

    __slots__ = ("running", "tripped", "trips")

    def __init__(self) -> None:
        """Begin with nothing under way and nothing tripped."""
        self.running = 0
        self.tripped: dict[int, str] = {}
        self.trips = 0

    def trip(self, number: int, why: str) -> None:
        """Take the traffic from a version."""
        self.tripped[number] = why
        self.trips += 1

    def forget(self, numbers: set[int]) -> None:
        """Drop what is known against versions; routed again, they begin anew."""
        for number in numbers & set(self.tripped):
            del self.tripped[number]
            self.trips += 1


def judge(model: ServedModel, version: ServedVersion) -> None:
    """Trip a canary, or a primary version that has a fallback, when its last window is beyond the rules."""
    rules = model.spec.serving.rollback
    if rules is None or version.number in model.live.tripped:
        return
    route = next((route for route in model.routes if route.version is version), None)
    if route is None or not (route.name == "canary" or (route.name == "champion" and model.standby() is not None)):
        return
    why = _verdict(rules, version, time.monotonic())
    if why is not None:
        model.live.trip(version.number, why)
        _log.error("model_tripped", model=model.spec.name, version=version.number, route=route.name, reason=why)


def forget_unrouted(compiled: CompiledModels) -> None:
    """Let versions that have lost their route in a new configuration start afresh when they get one again."""
    for model in compiled.models.values():
        routed = {route.version for route in model.spec.routes if route.role != "shadow"}
        model.live.forget(set(model.live.tripped) - routed)


def health_of(compiled: CompiledModels) -> dict[str, Any]:
    """Return the last window of every version that is routed, or has had traffic, as control asks for it."""
    now = time.monotonic()
    return {
        "models": [
            {"model": name, "versions": [_describe(model, version, now) for version in _shown(model)]}
            for name, model in sorted(compiled.models.items())
        ]
    }


def _verdict(rules: RollbackSpec, version: ServedVersion, now: float) -> str | None:
    requests, faults = version.window.counts(now)
    if requests < rules.min_requests:
        return None
    seconds = f"{rules.window_seconds} s"
    if rules.max_error_bps is not None and faults * 10_000 > rules.max_error_bps * requests:
        return (
            f"{faults} of {requests} requests failed within {seconds},"
            f" more than {rules.max_error_bps / 100:g} in a hundred"
        )
    if rules.max_p99_ms is not None:
        (p99,) = version.window.quantiles_ms(now, 0.99)
        if p99 is not None and p99 > rules.max_p99_ms:
            return f"p99 was {p99:g} ms within {seconds}, more than {rules.max_p99_ms:g} ms"
    return None


def _shown(model: ServedModel) -> list[ServedVersion]:
    found = {version.number: version for version in model.versions.values()}
    found |= {route.version.number: route.version for route in model.routes}
    return [found[number] for number in sorted(found)]


def _describe(model: ServedModel, version: ServedVersion, now: float) -> dict[str, Any]:
    requests, faults = version.window.counts(now)
    p50, p99 = version.window.quantiles_ms(now, 0.5, 0.99)
    return {
        "version": version.number,
        "route": _role(model, version),
        "requests": requests,
        "errors": faults,
        "by_code": version.window.by_code(now),
        "p50_ms": p50,
        "p99_ms": p99,
        "window_seconds": version.window.seconds,
        "tripped": model.live.tripped.get(version.number),
    }


def _role(model: ServedModel, version: ServedVersion) -> str:
    """Return what the configuration has the version for; pinned is what only answers where the path names it."""
    for route in (*model.routes, *model.shadows):
        if route.version is version:
            return route.name
    return "fallback" if version is model.standby() else "pinned"
