"""Reports of model versions: for callers, and for control over ``/internal/v1``, which the node token guards."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from headwater.core.errors import HeadwaterError
from headwater.services.inference.health import health_of
from headwater.services.inference.reports import DEFAULT_MINUTES, MAX_MINUTES, Reporter, Wanted
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import Environment, Runtime
from headwater.services.kit.threads import Threads

_Minutes = Annotated[int, Query(ge=1, le=MAX_MINUTES, description="How far back, at most 90 days")]
_SliceBy = Annotated[str | None, Query(max_length=200, description="An input to tell the quality apart by")]


def internal_router(runtime: Runtime, reporter: Reporter, threads: Threads, service: str) -> APIRouter:
    """Return the routes below ``/internal/v1``; reports are made in ``threads``."""
    router = APIRouter()

    @router.get("/models/{environment_id}/health")
    async def health(environment_id: str) -> Response:
        return _json(health_of(_environment(runtime, environment_id).compiled[service]))

    @router.get("/models/{environment_id}/{model}/{version}/report")
    async def report(  # noqa: PLR0917 - FastAPI passes the parameters by name
        environment_id: str,
        model: str,
        version: int,
        minutes: _Minutes = DEFAULT_MINUTES,
        slice_by: _SliceBy = None,
        evidence: Annotated[bool, Query(description="Whether outcomes and shadows are read too")] = True,
    ) -> Response:
        environment = _environment(runtime, environment_id)
        wanted = Wanted(environment, model, version, minutes, slice_by, evidence)
        return _json(await threads.run(partial(reporter.report, wanted)))

    @router.get("/models/{environment_id}/{model}/{version}/quality")
    async def quality(
        environment_id: str,
        model: str,
        version: int,
        minutes: _Minutes = DEFAULT_MINUTES,
        settle_minutes: Annotated[int, Query(ge=0, le=MAX_MINUTES, description="How old at least")] = 0,
    ) -> Response:
        wanted = Wanted(_environment(runtime, environment_id), model, version, minutes)
        return _json(await threads.run(partial(reporter.quality, wanted, settle_minutes)))

    return router


def report_router(runtime: Runtime, reporter: Reporter, threads: Threads) -> APIRouter:
    """Return the documented route of reports; they are made in ``threads``."""
    router = APIRouter(tags=["inference"])

    @router.get("/v1/models/{model}/versions/{version}/report", response_model=dict[str, Any])
    async def report_version(
        request: Request,
        model: str,
        version: int,
        minutes: _Minutes = DEFAULT_MINUTES,
        slice_by: _SliceBy = None,
    ) -> Response:
        """Return the traffic, drift and quality of a version over the last ``minutes``."""
        caller = authenticate(runtime, request.scope)
        if not caller.key.can("model.read", model):
            raise HeadwaterError(
                "forbidden",
                f"the key {caller.key.prefix}… lacks model.read on {model[:80]!r}",
                hint="use a key whose role has it, or ask for a grant",
            )
        wanted = Wanted(caller.environment, model, version, minutes, slice_by)
        return _json(await threads.run(partial(reporter.report, wanted)))

    return router


def _environment(runtime: Runtime, environment_id: str) -> Environment:
    environment = runtime.environments.get(environment_id)
    if environment is None:
        raise HeadwaterError("not_found", f"this node serves no environment {environment_id[:64]!r}")
    return environment


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
