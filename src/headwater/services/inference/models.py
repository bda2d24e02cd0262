"""What a snapshot's models become: loaded versions, routes among them, and what could not be loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import ModelSpec, ModelVersionSpec, Snapshot
from headwater.engines.blobs.protocol import BlobStore
from headwater.services.inference.health import Live
from headwater.services.inference.keys import LoggedKeys, logged_keys
from headwater.services.inference.metrics import InferenceMetrics
from headwater.services.inference.overriding import Overriding, overriding_of
from headwater.services.inference.routing import ROUTE_NAMES, Route, Table
from headwater.services.inference.version import ServedVersion

__all__ = ["ROUTE_NAMES", "CompiledModels", "Loader", "Route", "ServedModel"]

_log = get_logger(__name__)


_QUICK: Final = "onnx"  # a few milliseconds, in this process
_LOADING: Final = "it is being loaded"


class ServedModel:
    """A model as it is served. ``faults`` says by version number why a version is not, or not yet."""

    def __init__(
        self,
        spec: ModelSpec,
        versions: Mapping[int, ServedVersion],
        faults: Mapping[int, str],
        *,
        environment: str = "",
        live: Live | None = None,
        routes: tuple[Route, ...] | None = None,
    ) -> None:
        """Serve ``versions`` by the routes of ``spec``, unless others are given."""
        self.spec = spec
        self.versions = versions
        self.faults = faults
        self.environment = environment
        self.live = live or Live()
        self.routes = _routes(spec, versions) if routes is None else routes
        self.shadows = tuple(
            Route(versions[route.version], "shadow", route.weight_bps)
            for route in spec.routes
            if route.role == "shadow" and route.version in versions
        )
        self.takes_entities = any(version.feature_fields for version in versions.values())
        self.overriding: Overriding | None = None
        self._table = Table(self.routes)
        self._trips = 0

    @property
    def table(self) -> Table:
        """Return the routes as they are now: what was tripped answers by its fallback."""
        if self._trips != self.live.trips:
            self._trips = self.live.trips
            self._table = Table(self._without_tripped())
        return self._table

    def choose(self, key: bytes) -> Route:
        """Return the route for a request; the same ``key`` has the same route while the weights stay.

        Raises:
            HeadwaterError: ``model_unavailable`` when no version of the model can answer.
        """
        table = self.table
        if not table.routes:
            raise self.unavailable(None)
        route = table.routes[0] if len(table.routes) == 1 else table.choose(key)
        return self._standing_in(route) if route.version.is_async and route.version.fault is not None else route

    def standby(self) -> ServedVersion | None:
        """Return the version that answers for a primary one that was tripped."""
        number = self.spec.fallback
        return None if number is None else self.versions.get(number)

    def unavailable(self, number: int | None) -> HeadwaterError:
        """Return the error for a version, or the model, that could not be loaded."""
        faults = self.faults if number is None else {number: self.faults[number]}
        reasons = "; ".join(f"version {version}: {reason}" for version, reason in sorted(faults.items()))
        name = f"model {self.spec.name!r}" + (f" version {number}" if number is not None else "")
        if _LOADING in faults.values():
            hint = "try again shortly"
            return HeadwaterError("model_unavailable", f"{name}: {reasons}", hint=hint, retry_after_seconds=1)
        return HeadwaterError(
            "model_unavailable",
            f"{name} cannot be served: {reasons or 'it has no routes'}",
            hint="push the model again, or promote another version",
            retry_after_seconds=5,
        )

    @property
    def is_loading(self) -> bool:
        """Return whether versions are being loaded that could not be waited for."""
        return _LOADING in self.faults.values()

    def _without_tripped(self) -> tuple[Route, ...]:
        """Return the routes; the share of a tripped canary falls to the champion, the champion's to its fallback."""
        tripped = self.live.tripped
        primary = next((route for route in self.routes if route.name == "champion"), None)
        standby = self.standby()
        champion = primary.version if primary is not None else None
        if champion is not None and champion.number in tripped and standby is not None:
            champion = standby
        return tuple(
            Route(champion, "fallback", route.weight_bps)
            if champion is not None and route.version.number in tripped
            else route
            for route in self.routes
        )

    def _standing_in(self, route: Route) -> Route:
        """Return who answers while what runs a version is away; the route itself when nobody else can."""
        others = [other.version for other in self.table.routes if other.version is not route.version]
        standby = self.standby()
        for version in (*others, *([standby] if standby is not None else ())):
            if version.fault is None and version is not route.version:
                return Route(version, "fallback", route.weight_bps)
        return route


@dataclass(slots=True, eq=False)
class CompiledModels:
    """The models of an environment by name. An entry is replaced as a whole when a version loads after all.

    ``keys`` says what is logged of entities. ``users`` counts the requests that began with it: what a newer
    configuration dropped is let go after the last.
    """

    models: dict[str, ServedModel] = field(default_factory=dict)
    users: int = 0
    keys: Mapping[str, LoggedKeys] = field(default_factory=dict)
    on_idle: Callable[[CompiledModels], None] | None = None

    @property
    def is_over(self) -> bool:
        """Return whether a newer configuration has taken its place, and its last request has ended."""
        return self.on_idle is not None and not self.users

    def enter(self) -> None:
        """Begin a request with these models."""
        self.users += 1

    def leave(self) -> None:
        """End a request."""
        self.users -= 1
        if self.on_idle is not None and not self.users:
            self.on_idle(self)

    def retire(self, on_idle: Callable[[CompiledModels], None]) -> None:
        """Call ``on_idle`` once the last request that began with these models has ended."""
        self.on_idle = on_idle
        if not self.users:
            on_idle(self)

    def faults(self) -> list[str]:
        """Return a sentence for each version that could not be loaded."""
        return [
            f"model {model.spec.name!r} version {number}: {reason}"
            for model in self.models.values()
            for number, reason in sorted(model.faults.items())
        ]

    def versions(self) -> Iterator[ServedVersion]:
        """Return every loaded version, those that answer as a fallback included."""
        for model in list(self.models.values()):
            yield from model.versions.values()
            yield from (route.version for route in model.routes)


class Loader:
    """Loads the models of snapshots, and lets go of versions that no configuration has any more."""

    def __init__(self, blobs: BlobStore, settings: InferenceSettings, metrics: InferenceMetrics) -> None:
        """Load artifacts from ``blobs``."""
        self._blobs = blobs
        self._settings = settings
        self._metrics = metrics
        self._lock = threading.Lock()
        self._held: list[CompiledModels] = []
        self._is_closed = False

    def compile(self, snapshot: Snapshot, previous: CompiledModels | None, *, at_once: bool = True) -> CompiledModels:
        """Load what a snapshot names, keeping versions that are loaded already. Never raises for a model.

        Unless everything is to be there ``at_once``, versions that take a process or another server are left for
        ``load``: the first of a framework may need ten seconds, and nothing else of a snapshot shall wait for that.
        """
        before = previous.models if previous is not None else {}
        environment = snapshot.environment.id
        compiled = CompiledModels(
            {
                name: self.load(environment, spec, before.get(name), at_once=at_once)
                for name, spec in snapshot.models.items()
            }
        )
        for name, overriding in overriding_of(snapshot).items():
            if name in compiled.models:
                compiled.models[name].overriding = overriding
        compiled.keys = logged_keys(snapshot)
        with self._lock:
            self._held.append(compiled)
        return compiled

    def load(
        self, environment: str, spec: ModelSpec, previous: ServedModel | None, *, at_once: bool = True
    ) -> ServedModel:
        """Load a model's versions, ``at_once`` or only those that are quick to, and put its routes in order."""
        kept = previous if previous is not None and previous.spec.id == spec.id else None
        versions: dict[int, ServedVersion] = {}
        faults: dict[int, str] = {}
        for number, version in spec.versions.items():
            known = kept.versions.get(number) if kept is not None else None
            if known is not None and known.spec == version and known.model == spec.name:
                known.serve(spec.serving)
                versions[number] = known
                continue
            if not at_once and version.framework != _QUICK:
                faults[number] = _LOADING
                continue
            try:
                versions[number] = self._load(environment, spec, version)
            except HeadwaterError as error:
                faults[number] = error.detail
                _log.warning("model_not_loaded", model=spec.name, version=number, error=error.detail)
        routes = _routes(spec, versions)
        if not routes and kept is not None:
            # Nothing new can answer, so what answered so far goes on doing so, and says that it is a fallback.
            routes = tuple(Route(route.version, "fallback", route.weight_bps) for route in kept.routes)
        live = kept.live if kept is not None else None
        return ServedModel(spec, versions, faults, environment=environment, live=live, routes=routes)

    def drop(self, compiled: CompiledModels) -> list[ServedVersion]:
        """Return the versions that only ``compiled`` still held; it must have no users any more."""
        with self._lock:
            self._held = [other for other in self._held if other is not compiled]
            kept = {id(version) for other in self._held for version in other.versions()}
        gone = {id(version): version for version in compiled.versions() if id(version) not in kept}
        return list(gone.values())

    def close(self) -> None:
        """Let go of every version. Blocks."""
        with self._lock:
            held, self._held, self._is_closed = self._held, [], True
        for version in {id(version): version for compiled in held for version in compiled.versions()}.values():
            version.close()

    def _load(self, environment: str, spec: ModelSpec, version: ModelVersionSpec) -> ServedVersion:
        metrics = self._metrics.version(environment, spec.name, version.number)
        try:
            served = ServedVersion(
                spec.name, version, self._blobs, settings=self._settings, serving=spec.serving, metrics=metrics
            )
        except HeadwaterError:
            raise
        except Exception as error:
            _log.exception("model_load_failed", model=spec.name, version=version.number)
            raise HeadwaterError("model_unavailable", f"it cannot be loaded: {error}") from error
        if self._is_closed:  # while it was being loaded, so nobody else lets go of it
            served.close()
            raise HeadwaterError("model_unavailable", "the service has ended")
        return served


def _routes(spec: ModelSpec, versions: Mapping[int, ServedVersion]) -> tuple[Route, ...]:
    """Return the routes that answer. The share of a version that is not loaded falls to the others."""
    return tuple(
        Route(versions[route.version], ROUTE_NAMES[route.role], route.weight_bps)
        for route in spec.routes
        if route.role != "shadow" and route.weight_bps > 0 and route.version in versions
    )
