"""The documented routes: models and their signatures, and predictions through the same handler as the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from headwater.contracts.projections import json_schema
from headwater.core.snapshot import OutputSpec
from headwater.services.inference.handler import PredictHandler, find_model
from headwater.services.inference.models import ROUTE_NAMES, CompiledModels, ServedModel
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import Caller, Runtime

_JSON: Final = "application/json"
_ARROW: Final = "application/vnd.apache.arrow.stream"
_BYTES: Final = {"type": "string", "format": "binary", "description": "An Arrow IPC stream, a column for each input"}
_PARAMETERS: Final = [
    {
        "name": "Hw-Timeout-Ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1},
        "description": "Milliseconds after which the caller no longer waits; a request that waited longer is not run",
    },
    {
        "name": "Hw-Sticky-Key",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Requests with the same key go to the same version",
    },
    {
        "name": "on_error",
        "in": "query",
        "schema": {"type": "string", "enum": ["reject", "null"]},
        "description": "`null` answers bad rows with null instead of refusing the request",
    },
    {
        "name": "explain",
        "in": "query",
        "schema": {"type": "string", "enum": ["routing"]},
        "description": "Say why this version answers",
    },
]
_ANY_BODY: Final = {
    "oneOf": [
        {
            "type": "object",
            "required": ["rows"],
            "properties": {"rows": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
        },
        {
            "type": "object",
            "required": ["inputs"],
            "properties": {"inputs": {"type": "array", "minItems": 1, "items": {"type": "array"}}},
        },
        {
            "type": "object",
            "required": ["entities"],
            "properties": {
                "entities": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                "rows": {"type": "array", "items": {"type": "object"}},
            },
        },
    ]
}


class PredictionOut(BaseModel):
    """One row's answer."""

    id: str = Field(description="Names the prediction in the log")
    outputs: dict[str, Any]


class PredictOut(BaseModel):
    """The answer to a request, row by row."""

    model: str
    version: int
    route: str = Field(description="champion, canary, fallback, or override where the path names the version")
    predictions: list[PredictionOut | None] = Field(description="Null for a bad row, with `on_error=null`")
    warnings: list[str]


class ModelOut(BaseModel):
    """A model as it is served."""

    name: str
    description: str
    versions: list[int] = Field(description="Versions that can be asked")
    routes: list[dict[str, Any]]
    problems: dict[int, str] = Field(description="Why a version cannot be asked")
    tripped: dict[int, str] = Field(description="Why a version has lost its traffic to another")


class ModelDetailOut(ModelOut):
    """A model with its signature."""

    signature: dict[str, Any] | None


def model_router(runtime: Runtime, handler: PredictHandler, service: str) -> APIRouter:
    """Return the routes of the inference service."""
    router = APIRouter(tags=["inference"])
    body = {"required": True, "content": {_JSON: {"schema": _ANY_BODY}, _ARROW: {"schema": _BYTES}}}
    extra = {"requestBody": body, "parameters": _PARAMETERS}

    @router.get("/v1/models", response_model=list[ModelOut])
    async def list_models(request: Request) -> list[ModelOut]:
        """List the models that the key may see."""
        caller = authenticate(runtime, request.scope)
        compiled: CompiledModels = caller.environment.compiled[service]
        return [
            ModelOut(**_describe(model))
            for name, model in sorted(compiled.models.items())
            if caller.key.can("model.read", name) or caller.key.can("model.invoke", name)
        ]

    @router.get("/v1/models/{model}", response_model=ModelDetailOut)
    async def get_model(request: Request, model: str) -> ModelDetailOut:
        """Return a model with the signature of the version that answers."""
        caller = authenticate(runtime, request.scope)
        may_invoke = caller.key.can("model.invoke", model)
        found = find_model(caller, service, model, "model.invoke" if may_invoke else "model.read")
        return ModelDetailOut(**_describe(found), signature=_signature(found))

    @router.post("/v1/models/{model}/predict", response_model=PredictOut, openapi_extra=extra)
    async def predict(model: str) -> Response:  # noqa: ARG001 - the handler reads the path
        """Ask a model; its routes decide which version answers."""
        return HandlerResponse(handler)

    @router.post("/v1/models/{model}/versions/{version}/predict", response_model=PredictOut, openapi_extra=extra)
    async def predict_version(model: str, version: str) -> Response:  # noqa: ARG001 - the handler reads the path
        """Ask one version of a model."""
        return HandlerResponse(handler)

    return router


def model_paths(caller: Caller, compiled: CompiledModels) -> Mapping[str, Any]:
    """Return an OpenAPI path for each model that ``caller`` may ask, with the model's own types."""
    return {
        f"/v1/models/{name}/predict": {"post": _operation(model, model.routes[0].version)}
        for name, model in sorted(compiled.models.items())
        if model.routes and caller.key.can("model.invoke", name)
    }


def _describe(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.spec.name,
        "description": model.spec.description,
        "versions": sorted(model.versions),
        "routes": [
            {"version": route.version, "route": ROUTE_NAMES[route.role], "weight_bps": route.weight_bps}
            for route in model.spec.routes
        ],
        "problems": dict(model.faults),
        "tripped": dict(model.live.tripped),
    }


def _signature(model: ServedModel) -> dict[str, Any] | None:
    if not model.routes:
        return None
    version = model.routes[0].version
    return {
        "version": version.number,
        "inputs": json_schema(version.signature.contract),
        "order": list(version.signature.names),
        "outputs": [output.model_dump(exclude={"source", "index"}) for output in version.spec.outputs],
    }


def _operation(model: ServedModel, version: ServedVersion) -> dict[str, Any]:
    row = json_schema(version.signature.contract)
    request: dict[str, Any] = {
        "type": "object",
        "required": ["rows"],
        "properties": {"rows": {"type": "array", "items": row}},
    }
    if version.feature_fields:
        request = {"oneOf": [request, _entities(version, row)]}
    outputs = {output.name: _output_schema(output) for output in version.spec.outputs}
    prediction = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "outputs": {"type": "object", "properties": outputs}},
    }
    reply = {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "route": {"type": "string"},
            "predictions": {"type": "array", "items": prediction},
            "warnings": {"type": "array", "items": {"type": "string"}},
        },
    }
    return {
        "tags": ["models"],
        "summary": f"Ask {model.spec.name}",
        "description": model.spec.description,
        "operationId": f"predict_{model.spec.name.replace('-', '_')}",
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": {_JSON: {"schema": request}, _ARROW: {"schema": _BYTES}}},
        "responses": {"200": {"description": "Predictions", "content": {_JSON: {"schema": reply}}}},
    }


def _entities(version: ServedVersion, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form that names entities: what is fetched for them may be left out of rows."""
    required = [name for name in row.get("required", ()) if name not in version.feature_fields]
    return {
        "type": "object",
        "required": ["entities"],
        "properties": {
            "entities": {"type": "array", "items": {"type": "object", "description": "The keys of one entity"}},
            "rows": {"type": "array", "items": {**row, "required": required}},
        },
    }


def _output_schema(output: OutputSpec) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": output.type}
    for size in reversed(output.shape):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    return schema | ({"description": output.description} if output.description else {})
