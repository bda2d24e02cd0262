"""The feature service as the kit runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from headwater.core.snapshot import Snapshot
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.online import open_online
from headwater.services.features.catalog import CompiledFeatures, compile_features
from headwater.services.features.read import ReadHandler
from headwater.services.features.routes import features_router
from headwater.services.features.training import Trainer
from headwater.services.kit.service import HotHandler, Runtime


class FeatureService:
    """Reads features online and joins them with labels. A view that does not compile keeps no other from it."""

    name = "features"

    def __init__(self, runtime: Runtime) -> None:
        """Prepare; the online store is opened and nothing is read."""
        self._runtime = runtime
        self._store = open_online(runtime.settings)
        self._trainer = Trainer(runtime.settings, runtime.lake, runtime.home.run / "spill")
        self._fetcher = FeatureFetcher(self._store)
        self._handler = ReadHandler(runtime, self._fetcher, self.name)

    def compile(self, snapshot: Snapshot, previous: Any | None) -> CompiledFeatures:
        """Check the views of a snapshot, keeping those that did not change."""
        return compile_features(snapshot, previous)

    def router(self) -> APIRouter:
        """Return the documented routes."""
        return features_router(self._runtime, self._handler, self._fetcher, self._trainer, self.name)

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return the online read."""
        return {("POST", "/v1/features/{view}/read"): self._handler}

    def internal_router(self) -> APIRouter | None:
        """Return nothing: control needs nothing from here."""
        return None

    async def start(self) -> None:
        """Start nothing: everything begins when first asked."""

    async def stop(self) -> None:
        """Release the store."""
        self._trainer.close()
        self._store.close()

    def problems(self) -> Sequence[str]:
        """Return nothing: what cannot be served is a degradation, the rest serves."""
        return ()

    def degradations(self) -> Sequence[str]:
        """Return each view that cannot be read."""
        return [
            f"environment {environment.id}: feature view {name}: {fault}"
            for environment in self._runtime.environments.values()
            for name, fault in environment.compiled[self.name].faults.items()
        ]
