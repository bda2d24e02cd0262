"""The documented routes of features; reads go through the same handler as the hot path."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.features.lake import find_dataset
from headwater.engines.features.progress import Progress
from headwater.engines.features.windows import format_seconds
from headwater.services.features import training
from headwater.services.features.catalog import CompiledFeatures, find_view
from headwater.services.features.read import ReadHandler
from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.request import authenticate, read_body
from headwater.services.kit.service import Runtime

MAX_LABELS_BYTES: Final = 64 << 20
_READ_BODY: Final = {
    "type": "object",
    "required": ["entities"],
    "properties": {
        "entities": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object"},
            "description": "Entity keys by name, with what the view's expressions need of the request",
        }
    },
}
_LABELS_BODY: Final = {
    "type": "object",
    "required": ["labels"],
    "properties": {
        "labels": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "time": {"type": "string", "description": "The labels' time column"},
    },
}


class FeatureOut(BaseModel):
    """One feature of a view."""

    name: str
    type: str
    computed: str = Field(description="Where it comes from, in words")
    default: Any = None
    description: str


class InputOut(BaseModel):
    """A value that requests bring for expressions."""

    name: str
    type: str


class OnlineOut(BaseModel):
    """How far a view's online state goes."""

    generation: int
    rows_through: int = Field(description="Sequence number of the dataset's last row that is in")
    updated_at: datetime


class ViewOut(BaseModel):
    """A feature view."""

    name: str
    description: str
    revision: int
    dataset: str
    entities: list[str]
    entity_types: list[str]
    event_time: str
    freshness: str | None
    delay: str | None
    as_received: bool
    online: bool
    inputs: list[InputOut]
    features: list[FeatureOut]


class ViewDetailOut(ViewOut):
    """A feature view with its online state; null while it has none."""

    state: OnlineOut | None


class ResultOut(BaseModel):
    """The features of one entity."""

    entity: dict[str, Any]
    values: dict[str, Any]
    event_time: datetime | None = Field(description="Of the newest row that counts")
    status: dict[str, Literal["present", "default", "missing", "stale"]]


class ReadOut(BaseModel):
    """The features of the entities, in their order."""

    view: str
    revision: int
    results: list[ResultOut]


def features_router(
    runtime: Runtime, handler: ReadHandler, fetcher: FeatureFetcher, trainer: training.Trainer, service: str
) -> APIRouter:
    """Return the routes of the feature service."""
    router = APIRouter(tags=["features"])

    @router.get("/v1/features", response_model=list[ViewOut])
    async def list_views(request: Request) -> list[ViewOut]:
        """List the feature views that the key may read."""
        caller = authenticate(runtime, request.scope)
        compiled: CompiledFeatures = caller.environment.compiled[service]
        return [_show(view) for name, view in sorted(compiled.views.items()) if caller.key.can("feature.read", name)]

    @router.get("/v1/features/{view}", response_model=ViewDetailOut)
    async def get_view(request: Request, view: str) -> ViewDetailOut:
        """Return a feature view, and how far its online state goes."""
        caller = authenticate(runtime, request.scope)
        found = find_view(caller, service, view, runtime.clock.now())
        progress = await fetcher.progress(caller.environment.id, found)
        return ViewDetailOut(**_show(found).model_dump(), state=None if progress is None else _show_state(progress))

    @router.post(
        "/v1/features/{view}/read", response_model=ReadOut, openapi_extra=_body({"application/json": _READ_BODY})
    )
    async def read(view: str) -> Response:  # noqa: ARG001 - the handler reads the path
        """Read the features of entities as they are now."""
        return HandlerResponse(handler)

    extra = _body({"application/json": _LABELS_BODY, "text/csv": {}, "application/vnd.apache.arrow.stream": {}})

    @router.post("/v1/features/{view}/history", openapi_extra=extra)
    async def history(
        request: Request,
        view: str,
        time: Annotated[str | None, Query(description="The labels' time column")] = None,
        format: Annotated[str, Query(description="json, csv or arrow")] = "json",  # noqa: A002 - the parameter's name
    ) -> Response:
        """Join labels with the features that their entities had at the labels' times."""
        caller = authenticate(runtime, request.scope)
        found = find_view(caller, service, view, runtime.clock.now())
        compiled: CompiledFeatures = caller.environment.compiled[service]
        dataset = find_dataset(compiled.datasets, found.dataset)
        if format not in training.MEDIA_TYPES:
            known = ", ".join(training.MEDIA_TYPES)
            raise HeadwaterError("not_acceptable", f"there is no format {format[:32]!r}", hint=f"one of: {known}")
        stall = runtime.settings.ingest.body_stall_seconds
        body = await read_body(dict(request.scope), request.receive, max_bytes=MAX_LABELS_BYTES, stall_seconds=stall)
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        asked = training.Request(body, media, time, format)
        frame = await trainer.frame(caller.environment.id, found, dataset, asked)
        return Response(frame, media_type=training.MEDIA_TYPES[format])

    return router


def _body(schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {media: {"schema": schema} for media, schema in schemas.items()}}
    }


def _show_state(progress: Progress) -> OnlineOut:
    updated = datetime.fromtimestamp(progress.at_us // 1_000_000, UTC)
    return OnlineOut(generation=progress.generation, rows_through=progress.seq, updated_at=updated)


def _show(view: FeatureViewSpec) -> ViewOut:
    features = []
    for feature in view.features:
        computed = feature.expression or f"newest {feature.column}"
        if feature.kind == "aggregate" and feature.window_seconds is not None:
            window = format_seconds(feature.window_seconds)
            computed = f"{feature.aggregate} of {feature.column or 'rows'} over {window}"
        features.append(
            FeatureOut(
                name=feature.name,
                type=feature.type,
                computed=computed,
                default=feature.default,
                description=feature.description,
            )
        )
    return ViewOut(
        name=view.name,
        description=view.description,
        revision=view.revision,
        dataset=view.dataset,
        entities=list(view.entities),
        entity_types=list(view.entity_types),
        event_time=view.event_time,
        freshness=None if view.freshness_seconds is None else format_seconds(view.freshness_seconds),
        delay=format_seconds(view.delay_seconds) if view.delay_seconds else None,
        as_received=view.as_received,
        online=view.online,
        inputs=[InputOut(name=item.name, type=item.type) for item in view.inputs],
        features=features,
    )
