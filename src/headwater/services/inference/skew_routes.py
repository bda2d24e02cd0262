"""``/v1/models/{model}/skew`` and ``/v1/models/{model}/versions/{version}/skew``: train/serve skew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headwater.core.errors import PROBLEMS
from headwater.core.home import Home
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.features.skew import SkewReport, load_report, report_path
from headwater.engines.features.skew_jobs import DEFAULT_HOURS, DEFAULT_SAMPLE, find_check, plan_check, queue_check
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import Job, JobStore, State
from headwater.services.inference.batch_planning import choose_version
from headwater.services.inference.pipeline import find_model
from headwater.services.kit.request import authenticate, document_of, read_document
from headwater.services.kit.service import Caller, Runtime
from headwater.services.kit.threads import Threads

T = TypeVar("T")
_SAID: Final = frozenset({"sql_failed", "invalid_parameter", "dataset_not_found", "conflict"})


class SkewIn(BaseModel):
    """What is to be checked."""

    model_config = ConfigDict(extra="forbid")

    hours: int = Field(DEFAULT_HOURS, ge=1, le=90 * 24, description="How far back predictions are drawn from")
    sample: int = Field(DEFAULT_SAMPLE, ge=1, le=100_000, description="How many predictions at most")


class SkewOut(BaseModel):
    """The newest check of a version."""

    model: str
    version: int
    job: str | None = Field(description="The newest check, null where none was ever asked for, or it is long ago")
    state: State | None = Field(description="How that one stands")
    error: dict[str, Any] | None = Field(description="Why it failed, or what kept the last attempt from going on")
    report: SkewReport | None = Field(description="What the newest check that succeeded found")


class SkewDesk:
    """Takes requests for checks and tells what they found."""

    def __init__(self, runtime: Runtime, service: str) -> None:
        """Check versions of the models that ``service`` compiled."""
        self._runtime = runtime
        self._service = service
        self._home = Home(runtime.settings.home)
        self._threads = Threads("skew", workers=1, waiting=16)
        self._opening = threading.Lock()
        self._store: JobStore | None = None

    def close(self) -> None:
        """Release the queue."""
        self._threads.close()
        if self._store is not None:
            self._store.close()

    async def start(self, request: Request, model: str, pinned: str | None) -> Response:
        """Queue a check, unless one is under way, and answer 202 with how it stands."""
        caller, version = self._find(request, model, pinned)
        asked = await read_document(request, SkewIn)
        now_us = time.time_ns() // 1_000
        snapshot = caller.environment.snapshot
        check = plan_check(
            snapshot, snapshot.models[model], version, now_us=now_us, hours=asked.hours, sample=asked.sample
        )

        def queue(store: JobStore) -> Job:
            return queue_check(store, check, principal_id=caller.key.principal_id, now_us=now_us)

        job = await self._with_store(queue)
        return Response(self._out(caller, model, version, job).model_dump_json(), 202, media_type="application/json")

    async def tell(self, request: Request, model: str, pinned: str | None) -> SkewOut:
        """Return the newest check of a version."""
        caller, version = self._find(request, model, pinned)
        job = await self._with_store(lambda store: find_check(store, caller.environment.id, version.id))
        return self._out(caller, model, version, job)

    def _find(self, request: Request, model: str, pinned: str | None) -> tuple[Caller, ModelVersionSpec]:
        caller = authenticate(self._runtime, request.scope)
        served = find_model(caller, self._service, model, "model.read")
        return caller, choose_version(served, pinned)

    def _out(self, caller: Caller, model: str, version: ModelVersionSpec, job: Job | None) -> SkewOut:
        return SkewOut(
            model=model,
            version=version.number,
            job=None if job is None else job.new.id,
            state=None if job is None else job.state,
            error=None if job is None else _public(job.error),
            report=load_report(report_path(self._home, caller.environment.id, version.id)),
        )

    async def _with_store(self, ask: Callable[[JobStore], T]) -> T:
        return await self._threads.run(lambda: ask(self._open()))

    def _open(self) -> JobStore:
        with self._opening:
            if self._store is None:
                self._store = open_queue(self._runtime.settings)
            return self._store


def skew_router(desk: SkewDesk) -> APIRouter:
    """Return the documented routes."""
    router = APIRouter(tags=["inference"])
    extra = document_of(SkewIn)

    @router.post("/v1/models/{model}/skew", response_model=SkewOut, status_code=202, openapi_extra=extra)
    async def check_skew(request: Request, model: str) -> Response:
        """Have the features that the champion was served compared with what their history says."""
        return await desk.start(request, model, None)

    @router.post(
        "/v1/models/{model}/versions/{version}/skew", response_model=SkewOut, status_code=202, openapi_extra=extra
    )
    async def check_skew_of_version(request: Request, model: str, version: str) -> Response:
        """Have the features that a version was served compared with what their history says."""
        return await desk.start(request, model, version)

    @router.get("/v1/models/{model}/skew", response_model=SkewOut)
    async def get_skew(request: Request, model: str) -> SkewOut:
        """Return what the newest check of the champion found."""
        return await desk.tell(request, model, None)

    @router.get("/v1/models/{model}/versions/{version}/skew", response_model=SkewOut)
    async def get_skew_of_version(request: Request, model: str, version: str) -> SkewOut:
        """Return what the newest check of a version found."""
        return await desk.tell(request, model, version)

    return router


def _public(error: Any) -> dict[str, Any] | None:
    if error is None:
        return None
    if error["code"] not in _SAID:
        known = PROBLEMS.get(error["code"])
        return {"code": error["code"], "detail": known.title if known else "", "hint": "the worker's log says more"}
    return dict(error)
