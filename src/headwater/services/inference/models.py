"""What a snapshot's models become: loaded versions, routes among them, and what could not be loaded."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.snapshot import ModelSpec, ModelVersionSpec, Snapshot
from headwater.engines.blobs.protocol import BlobStore
from headwater.services.inference.version import ServedVersion

ROUTE_NAMES: Final = {"primary": "champion", "canary": "canary", "shadow": "shadow"}

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """A loaded version with its share of the traffic, in basis points of all that is routed."""

    version: ServedVersion
    name: str
    weight_bps: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as it is served. ``faults`` says by version number why a version is not."""

    spec: ModelSpec
    versions: Mapping[int, ServedVersion]
    faults: Mapping[int, str]
    routes: tuple[Route, ...]
    shadows: tuple[ServedVersion, ...] = ()

    def choose(self, key: bytes) -> Route:
        """Return the route for a request; the same ``key`` has the same route while the weights stay.

        Raises:
            HeadwaterError: ``model_unavailable`` when no version of the model could be loaded.
        """
        routes = self.routes
        if len(routes) == 1:
            return routes[0]
        if not routes:
            raise self.unavailable(None)
        point = zlib.crc32(key) % sum(route.weight_bps for route in routes)
        for route in routes:
            point -= route.weight_bps
            if point < 0:
                return route
        return routes[-1]

    def unavailable(self, number: int | None) -> HeadwaterError:
        """Return the error for a version, or the model, that could not be loaded."""
        faults = self.faults if number is None else {number: self.faults[number]}
        reasons = "; ".join(f"version {version}: {reason}" for version, reason in sorted(faults.items()))
        name = f"model {self.spec.name!r}" + (f" version {number}" if number is not None else "")
        return HeadwaterError(
            "model_unavailable",
            f"{name} cannot be served: {reasons or 'it has no routes'}",
            hint="push the model again, or promote another version",
            retry_after_seconds=5,
        )


@dataclass(slots=True)
class CompiledModels:
    """The models of an environment by name. An entry is replaced as a whole when a version loads after all."""

    models: dict[str, ServedModel] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """Return a sentence for each version that could not be loaded."""
        return [
            f"model {model.spec.name!r} version {number}: {reason}"
            for model in self.models.values()
            for number, reason in sorted(model.faults.items())
        ]


def compile_models(snapshot: Snapshot, previous: CompiledModels | None, blobs: BlobStore) -> CompiledModels:
    """Load what a snapshot names, keeping versions that are loaded already. Never raises for a model."""
    before = previous.models if previous is not None else {}
    return CompiledModels({name: load_model(spec, before.get(name), blobs) for name, spec in snapshot.models.items()})


def load_model(spec: ModelSpec, previous: ServedModel | None, blobs: BlobStore) -> ServedModel:
    """Load a model's versions and put its routes in order."""
    kept = previous.versions if previous is not None and previous.spec.id == spec.id else {}
    versions: dict[int, ServedVersion] = {}
    faults: dict[int, str] = {}
    for number, version in spec.versions.items():
        known = kept.get(number)
        if known is not None and known.spec == version and known.model == spec.name:
            versions[number] = known
            continue
        try:
            versions[number] = _load(spec.name, version, blobs)
        except HeadwaterError as error:
            faults[number] = error.detail
            _log.warning("model_not_loaded", model=spec.name, version=number, error=error.detail)
    routes = _routes(spec, versions)
    if not routes and kept and previous is not None:
        # Nothing new can answer, so what answered so far goes on doing so, and says that it is a fallback.
        routes = tuple(Route(route.version, "fallback", route.weight_bps) for route in previous.routes)
    return ServedModel(spec, versions, faults, routes, _shadows(spec, versions))


def _load(model: str, version: ModelVersionSpec, blobs: BlobStore) -> ServedVersion:
    try:
        return ServedVersion(model, version, blobs)
    except HeadwaterError:
        raise
    except Exception as error:
        _log.exception("model_load_failed", model=model, version=version.number)
        raise HeadwaterError("model_unavailable", f"it cannot be loaded: {error}") from error


def _routes(spec: ModelSpec, versions: Mapping[int, ServedVersion]) -> tuple[Route, ...]:
    """Return the routes that answer. The share of a version that is not loaded falls to the others."""
    return tuple(
        Route(versions[route.version], ROUTE_NAMES[route.role], route.weight_bps)
        for route in spec.routes
        if route.role != "shadow" and route.weight_bps > 0 and route.version in versions
    )


def _shadows(spec: ModelSpec, versions: Mapping[int, ServedVersion]) -> tuple[ServedVersion, ...]:
    return tuple(
        versions[route.version] for route in spec.routes if route.role == "shadow" and route.version in versions
    )
