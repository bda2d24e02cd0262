"""What control asks for reviews over ``/internal/v1``: logged predictions, and where to put what people say of them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from headwater.contracts.rows import Format
from headwater.core.errors import HeadwaterError
from headwater.engines.monitoring.evidence import Evidence
from headwater.engines.monitoring.selection import MAX_ROWS, WHOLE_BPS, Selection, shown_prediction
from headwater.services.inference.outcome_routes import Desk
from headwater.services.kit.request import read_document
from headwater.services.kit.service import Environment, Runtime
from headwater.services.kit.threads import Threads

MAX_LABELS = 1_000


class Label(BaseModel):
    """What became of a prediction, as people say."""

    prediction_id: str = Field(max_length=64)
    outcome: Any


class Labels(BaseModel):
    """Labels of several predictions, given by one person."""

    requested_by: str = Field(min_length=1, max_length=200)
    rows: list[Label] = Field(min_length=1, max_length=MAX_LABELS)


def review_router(runtime: Runtime, evidence: Evidence, reading: Threads, writing: Threads) -> APIRouter:
    """Return the routes; the lake is read in ``reading``, labels are taken in ``writing``."""
    router = APIRouter()
    desk = Desk(runtime, writing)

    @router.get("/predictions/{environment_id}/{model}")
    async def select(  # noqa: PLR0917 - FastAPI passes the parameters by name
        environment_id: str,
        model: str,
        after: Annotated[int, Query(ge=-1)] = -1,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 100,
        condition: Annotated[str, Query(max_length=4_000)] = "",
        priority: Annotated[str, Query(max_length=4_000)] = "",
        sample_bps: Annotated[int, Query(ge=0, le=WHOLE_BPS)] = WHOLE_BPS,
        since_us: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        environment = _environment(runtime, environment_id)
        spec = environment.snapshot.models.get(model)
        if spec is None:
            raise environment.missing("model_not_found", f"there is no model {model[:80]!r}")
        wanted = Selection(condition, priority, sample_bps, since_us)
        work = partial(evidence.selected, environment_id, spec, wanted, after=after, limit=limit)
        rows, position = await reading.run(work)
        return _json({"predictions": [shown_prediction(row) for row in rows], "position": position})

    @router.post("/predictions/{environment_id}/outcomes")
    async def label(request: Request, environment_id: str) -> Response:
        labels = await read_document(request, Labels)
        environment = _environment(runtime, environment_id)
        body = orjson.dumps([row.model_dump() for row in labels.rows])
        async with desk.place():
            return await desk.take(environment, labels.requested_by, body, Format.JSON)

    return router


def _environment(runtime: Runtime, environment_id: str) -> Environment:
    environment = runtime.environments.get(environment_id)
    if environment is None:
        raise HeadwaterError("not_found", f"this node serves no environment {environment_id[:64]!r}")
    return environment


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
