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
from headwater.services.inference.batch_routes import BatchDesk
from headwater.services.inference.batch_viewing import batch_viewing_router
from headwater.services.inference.features import LazyFetcher
from headwater.services.inference.fetching import Fetching
from headwater.services.inference.handler import PredictHandler
from headwater.services.inference.health import forget_unrouted
from headwater.services.inference.internal import internal_router, report_router
from headwater.services.inference.log import make_log
from headwater.services.inference.metrics import InferenceMetrics
from headwater.services.inference.models import CompiledModels, Loader
from headwater.services.inference.oip import OipHandler
from headwater.services.inference.oip_routes import oip_router
from headwater.services.inference.outcome_routes import outcome_router
from headwater.services.inference.pipeline import Pipeline
from headwater.services.inference.quick import QuickDesk
from headwater.services.inference.quick_forms import JsonForm, TensorForm
from headwater.services.inference.reports import Reporter
from headwater.services.inference.review_routes import review_router
from headwater.services.inference.routes import model_paths, model_router
from headwater.services.inference.skew_routes import SkewDesk, skew_router
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.fast_lane import LaneHandler
from headwater.services.kit.service import Caller, HotHandler, Runtime
from headwater.services.kit.threads import Threads

RETRY_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 0.2


class InferenceService:
    """Serves models. A model that cannot be loaded never keeps the others, or its own earlier version, from serving."""

    name = "inference"

    def __init__(self, runtime: Runtime, *, fetcher: Fetching | None = None) -> None:
        """Prepare; ``start`` begins to log. Features come from ``fetcher``, by default from the online store."""
        self._runtime = runtime
        self._metrics = InferenceMetrics()
        self._loader = Loader(open_blobs(runtime.settings), runtime.settings.inference, self._metrics)
        self._log = make_log(runtime)
        self._own_fetcher = LazyFetcher(runtime.settings)
        self._pipeline = Pipeline(runtime, self._log, self.name, self._metrics)
        self._handler = PredictHandler(self._pipeline, fetcher or self._own_fetcher)
        self._oip = OipHandler(runtime, self._pipeline, self.name)
        self._desk = QuickDesk(self._pipeline)
        self._reporter = Reporter(runtime.settings, runtime.lake)
        self._reports = Threads("reports", workers=1, waiting=8)
        self._outcomes = Threads("outcomes", workers=2, waiting=16)
        self._batches = BatchDesk(runtime, self.name)
        self._skew = SkewDesk(runtime, self.name)
        self._retries: asyncio.Task[None] | None = None
        self._drains: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loads: set[asyncio.Task[None]] = set()

    def compile(self, snapshot: Snapshot, previous: Any | None) -> CompiledModels:
        """Load the models of a snapshot, keeping what is loaded already.

        While this process serves the environment already, models that take long to load follow a little later.
        """
        loop = self._loop
        compiled = self._loader.compile(snapshot, previous, at_once=loop is None or previous is None)
        if loop is not None and any(model.is_loading for model in compiled.models.values()):
            loop.call_soon_threadsafe(self._load_rest, compiled)
        return compiled

    def release(self, compiled: Any) -> None:
        """Let go of versions that only ``compiled`` has, once its last request has ended."""
        self._desk.forget()
        for environment in self._runtime.environments.values():
            forget_unrouted(environment.compiled[self.name])
        compiled.retire(self._drain)

    def router(self) -> APIRouter:
        """Return the documented routes."""
        router = APIRouter()
        router.include_router(model_router(self._runtime, self._handler, self.name))
        router.include_router(oip_router(self._oip))
        router.include_router(outcome_router(self._runtime, self._outcomes))
        router.include_router(self._batches.router())
        router.include_router(skew_router(self._skew))
        router.include_router(report_router(self._runtime, self._reporter, self._reports))
        return router

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return the prediction routes."""
        return {
            ("POST", "/v1/models/{model}/predict"): self._handler,
            ("POST", "/v1/models/{model}/versions/{version}/predict"): self._handler,
            ("POST", "/v2/models/{model}/infer"): self._oip.infer,
            ("POST", "/v2/models/{model}/versions/{version}/infer"): self._oip.infer,
        }

    def lane_routes(self) -> Mapping[tuple[str, str], LaneHandler]:
        """Return the prediction routes as the fast lane takes them."""
        json, tensors = self._desk.handler(JsonForm()), self._desk.handler(TensorForm())
        return {
            ("POST", "/v1/models/{model}/predict"): json,
            ("POST", "/v1/models/{model}/versions/{version}/predict"): json,
            ("POST", "/v2/models/{model}/infer"): tensors,
            ("POST", "/v2/models/{model}/versions/{version}/infer"): tensors,
        }

    def internal_router(self) -> APIRouter:
        """Return what control asks: how versions do at the moment, their reports, what is to be reviewed, jobs."""
        router = internal_router(self._runtime, self._reporter, self._reports, self.name)
        router.include_router(review_router(self._runtime, self._reporter.evidence, self._reports, self._outcomes))
        router.include_router(batch_viewing_router(self._runtime, self._batches))
        return router

    def openapi_paths(self, caller: Caller) -> Mapping[str, Any]:
        """Return a path for each model that ``caller`` may ask."""
        return model_paths(caller, caller.environment.compiled[self.name])

    def collectors(self) -> Sequence[Collector]:
        """Return the service's metrics."""
        return (self._metrics, *self._log.collectors())

    async def start(self) -> None:
        """Begin to log, and to try again what could not be loaded."""
        self._loop = asyncio.get_running_loop()
        self._log.start()
        self._retries = asyncio.create_task(self._retry(), name="model-retries")

    async def stop(self) -> None:
        """Make durable what was predicted, and let go of what runs models."""
        await self._pipeline.shadows.stop()
        self._loop = None
        for task in (self._retries, *self._loads, *self._drains):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await self._log.stop()
        self._outcomes.close()
        self._reports.close()
        self._batches.close()
        self._skew.close()
        self._own_fetcher.close()
        await asyncio.to_thread(self._loader.close)
        await asyncio.to_thread(self._reporter.close)

    def problems(self) -> Sequence[str]:
        """Return nothing: what cannot be loaded is a degradation, the rest serves."""
        return ()

    def degradations(self) -> Sequence[str]:
        """Return each version that could not be loaded, and what keeps predictions from being logged."""
        faults = [
            f"environment {environment.id}: {fault}"
            for environment in self._runtime.environments.values()
            for fault in environment.compiled[self.name].faults()
        ]
        return [*faults, self._log.problem] if self._log.problem else faults

    def _drain(self, compiled: CompiledModels) -> None:
        """Close what nothing holds any more."""
        for version in self._loader.drop(compiled):
            if version.is_async:
                task = asyncio.get_running_loop().create_task(_close_idle(version), name="model-drain")
                self._drains.add(task)
                task.add_done_callback(self._drains.discard)

    def _load_rest(self, compiled: CompiledModels) -> None:
        """Begin to load what the snapshot did not wait for."""

        async def load() -> None:
            loading = [name for name, model in compiled.models.items() if model.is_loading]
            await asyncio.gather(*(self._load(compiled, name) for name in loading))

        task = asyncio.create_task(load(), name="model-loads")
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)

    async def _retry(self) -> None:
        """Load what could not be loaded, once its artifact is there."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            for environment in list(self._runtime.environments.values()):
                compiled: CompiledModels = environment.compiled[self.name]
                for name, model in list(compiled.models.items()):
                    if model.faults and not model.is_loading:
                        await self._load(compiled, name)

    async def _load(self, compiled: CompiledModels, name: str) -> None:
        """Load what there is not yet of a model, and serve it."""
        model = compiled.models[name]
        again = await asyncio.to_thread(self._loader.load, model.environment, model.spec, model)
        again.overriding = model.overriding
        # A newer snapshot has an object of its own, so this can only ever mend the one it read.
        compiled.models[name] = again
        if compiled.is_over:
            self._drain(compiled)


async def _close_idle(version: ServedVersion) -> None:
    """Close a version once nothing runs in it any more: runs outlive those who have stopped waiting for them."""
    while not version.batcher.is_idle:  # noqa: ASYNC110 - it is a queue's, and has no event
        await asyncio.sleep(DRAIN_SECONDS)
    await asyncio.to_thread(version.close)
