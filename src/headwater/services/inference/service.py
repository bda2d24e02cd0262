"""The inference service as the kit runs it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from prometheus_client.registry import Collector

from headwater.core.snapshot import Snapshot
from headwater.engines.blobs import open_blobs
from headwater.services.inference.handler import PredictHandler
from headwater.services.inference.log import PredictionLog
from headwater.services.inference.models import CompiledModels, compile_models, load_model
from headwater.services.inference.routes import model_paths, model_router
from headwater.services.kit.service import Caller, HotHandler, Runtime

RETRY_SECONDS: Final = 5.0


class InferenceService:
    """Serves models. A model that cannot be loaded never keeps the others, or its own earlier version, from serving."""

    name = "inference"

    def __init__(self, runtime: Runtime) -> None:
        """Prepare; ``start`` begins to log."""
        self._runtime = runtime
        self._blobs = open_blobs(runtime.settings)
        self._log = PredictionLog(runtime.committer)
        self._handler = PredictHandler(runtime, self._log, self.name)
        self._retries: asyncio.Task[None] | None = None

    def compile(self, snapshot: Snapshot, previous: Any | None) -> CompiledModels:
        """Load the models of a snapshot, keeping what is loaded already."""
        return compile_models(snapshot, previous, self._blobs)

    def router(self) -> APIRouter:
        """Return the documented routes."""
        return model_router(self._runtime, self._handler, self.name)

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return the prediction routes."""
        return {
            ("POST", "/v1/models/{model}/predict"): self._handler,
            ("POST", "/v1/models/{model}/versions/{version}/predict"): self._handler,
        }

    def internal_router(self) -> APIRouter | None:
        """Return nothing: control learns of models from the node's status."""
        return None

    def openapi_paths(self, caller: Caller) -> Mapping[str, Any]:
        """Return a path for each model that ``caller`` may ask."""
        return model_paths(caller, caller.environment.compiled[self.name])

    def collectors(self) -> Sequence[Collector]:
        """Return the service's metrics."""
        return (self._log.logged, self._log.dropped)

    async def start(self) -> None:
        """Begin to log, and to try again what could not be loaded."""
        self._log.start()
        self._retries = asyncio.create_task(self._retry(), name="model-retries")

    async def stop(self) -> None:
        """Make durable what was predicted."""
        if self._retries is not None:
            self._retries.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retries
        await self._log.stop()

    def problems(self) -> Sequence[str]:
        """Return nothing: what cannot be loaded is a degradation, the rest serves."""
        return ()

    def degradations(self) -> Sequence[str]:
        """Return each version that could not be loaded."""
        return [
            f"environment {environment.id}: {fault}"
            for environment in self._runtime.environments.values()
            for fault in environment.compiled[self.name].faults()
        ]

    async def _retry(self) -> None:
        """Load what could not be loaded, once its artifact is there."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            for environment in list(self._runtime.environments.values()):
                compiled: CompiledModels = environment.compiled[self.name]
                for name, model in list(compiled.models.items()):
                    if model.faults:
                        again = await asyncio.to_thread(load_model, model.spec, model, self._blobs)
                        # A newer snapshot has an object of its own, so this can only ever mend the one it read.
                        compiled.models[name] = again
