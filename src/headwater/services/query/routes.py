"""The documented routes of the query service, and the OpenAPI paths of an environment's own endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from headwater.core.endpoints import CacheSpec, ColumnSpec, LimitsSpec, LiveSpec
from headwater.core.snapshot import ParameterSpec
from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import Caller, HotHandler, Runtime
from headwater.services.query.catalog import CompiledEndpoint, CompiledQueries, rows_spec
from headwater.services.query.formats import MEDIA_TYPES, ResultFormat

ENDPOINT_PATH: Final = "/v1/endpoints/{endpoint}"
ROWS_PATH: Final = "/v1/datasets/{dataset}/rows"
SQL_PATH: Final = "/v1/sql"
_JSON: Final = "application/json"
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["meta", "data"],
    "properties": {
        "meta": {
            "type": "object",
            "required": ["columns", "row_count", "table_versions"],
            "properties": {
                "columns": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
                    },
                },
                "row_count": {"type": "integer"},
                "table_versions": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
                "policy": {
                    "type": "object",
                    "description": "The policy that decided what this key sees, by table and endpoint:name",
                    "additionalProperties": {"type": "string"},
                },
                "hidden_columns": {
                    "type": "object",
                    "description": "Columns that the policy leaves out",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
                "masked_columns": {
                    "type": "object",
                    "description": "Columns that the policy shows otherwise: null, hash or last4",
                    "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
                },
                "notes": {"type": "array", "items": {"type": "string"}},
                "truncated": {"type": "boolean"},
            },
        },
        "data": {"type": "array", "items": {"type": "object"}},
    },
}
_CONTENT: Final = {
    MEDIA_TYPES[form].partition(";")[0]: {"schema": _RESULT if form is ResultFormat.JSON else {"type": "string"}}
    for form in ResultFormat
}
_OK: Final = {"200": {"description": "The result", "content": _CONTENT}}
_UNCHANGED: Final = {"304": {"description": "Nothing changed since the result with this ETag"}}
_SQL_BODY: Final = {
    "type": "object",
    "required": ["sql"],
    "additionalProperties": False,
    "properties": {
        "sql": {"type": "string", "description": "One SELECT; parameters are written $name"},
        "params": {"type": "object", "description": "Values by parameter, bound and never spliced"},
    },
}
_ANY_PARAMETERS: Final = {"type": "object", "description": "Values by parameter"}
_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "format": "int64"},
    "number": {"type": "number"},
    "decimal": {"type": "string", "format": "decimal"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
}


class EndpointOut(BaseModel):
    """An endpoint that the key may invoke."""

    name: str
    version: int
    description: str
    revision: int
    parameters: list[ParameterSpec]
    columns: list[ColumnSpec] = Field(description="The contract of the result; inferred when is_inferred")
    is_inferred: bool
    key: list[str] = Field(description="Columns that identify a row")
    tables: list[str]
    uses: list[str] = Field(description="Other endpoints that it reads as views")
    deprecated_at: datetime | None
    sunset_at: datetime | None
    timeout_seconds: float
    max_rows: int
    cache: CacheSpec
    limits: LimitsSpec
    live: LiveSpec
    problem: str | None = Field(None, description="Why it cannot be served now")


class EndpointsOut(BaseModel):
    """The endpoints that the key may invoke."""

    endpoints: list[EndpointOut]


def query_router(runtime: Runtime, endpoint: HotHandler, rows: HotHandler, sql: HotHandler, service: str) -> APIRouter:
    """Return the documented routes; those that answer with results are the raw handlers themselves."""
    router = APIRouter(tags=["query"])
    posted = {"requestBody": {"content": {_JSON: {"schema": _ANY_PARAMETERS}}}, "responses": _OK}

    @router.get("/v1/endpoints", response_model=EndpointsOut)
    async def list_endpoints(request: Request) -> EndpointsOut:
        """List the SQL endpoints that the key may invoke, with their parameters."""
        caller = authenticate(runtime, dict(request.scope))
        compiled: CompiledQueries = caller.environment.compiled[service]
        return EndpointsOut(endpoints=[_describe(one) for one in _open_to(caller, compiled)])

    @router.get(ENDPOINT_PATH, response_class=Response, openapi_extra={"responses": _OK | _UNCHANGED})
    async def get_endpoint(endpoint: str) -> Response:  # noqa: ARG001 - the handler reads the path
        """Ask an endpoint; its parameters are the query string."""
        return HandlerResponse(endpoint_handler)

    @router.post(ENDPOINT_PATH, response_class=Response, openapi_extra=posted)
    async def post_endpoint(endpoint: str) -> Response:  # noqa: ARG001 - as above
        """Ask an endpoint; its parameters are the JSON body."""
        return HandlerResponse(endpoint_handler)

    page = {"parameters": [_query_parameter(spec) for spec in rows_spec("").parameters], "responses": _OK | _UNCHANGED}

    @router.get(ROWS_PATH, response_class=Response, openapi_extra=page)
    async def read_rows(dataset: str) -> Response:  # noqa: ARG001 - the handler reads the path
        """Read a dataset's rows in the order they came, as far as policies show them to the key."""
        return HandlerResponse(rows)

    body = {"required": True, "content": {_JSON: {"schema": _SQL_BODY}}}

    @router.post(SQL_PATH, response_class=Response, openapi_extra={"requestBody": body, "responses": _OK})
    async def run_sql() -> Response:
        """Run one SELECT of one's own, with hard limits on time, memory and rows."""
        return HandlerResponse(sql)

    endpoint_handler = endpoint
    return router


def endpoint_paths(caller: Caller, compiled: CompiledQueries) -> dict[str, Any]:
    """Return an OpenAPI path for each endpoint that ``caller`` may invoke."""
    return {
        f"/v1/endpoints/{one.spec.name}": {
            "get": _operation(one, "get", {"parameters": [_query_parameter(spec) for spec in one.parameters.values()]}),
            "post": _operation(one, "post", {"requestBody": {"content": {_JSON: {"schema": _body_schema(one)}}}}),
        }
        for one in _open_to(caller, compiled)
        if one.fault is None
    }


def _open_to(caller: Caller, compiled: CompiledQueries) -> list[CompiledEndpoint]:
    return [one for _, one in sorted(compiled.endpoints.items()) if one.is_open_to(caller)]


def _describe(endpoint: CompiledEndpoint) -> EndpointOut:
    spec = endpoint.spec
    members = {name: getattr(spec, name) for name in EndpointOut.model_fields if name != "problem"}
    return EndpointOut.model_validate(
        {**members, "problem": endpoint.fault.detail if endpoint.fault else None}, from_attributes=True
    )


def _operation(endpoint: CompiledEndpoint, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    spec = endpoint.spec
    responses = _OK | _UNCHANGED if method == "get" else _OK
    return {
        "tags": ["endpoints"],
        "operationId": f"{method}_endpoint_{spec.name}",
        "summary": spec.description.partition("\n")[0] or spec.name,
        "description": spec.description,
        "responses": responses,
        **given,
    }


def _query_parameter(spec: ParameterSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "in": "query",
        "required": spec.required,
        "description": spec.description,
        "schema": _schema(spec),
    }


def _body_schema(endpoint: CompiledEndpoint) -> dict[str, Any]:
    parameters = endpoint.parameters.values()
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [spec.name for spec in parameters if spec.required],
        "properties": {spec.name: _schema(spec) | {"description": spec.description} for spec in parameters},
    }


def _schema(spec: ParameterSpec) -> dict[str, Any]:
    optional = {
        "default": spec.default,
        "enum": list(spec.values) or None,
        "minimum": spec.ge,
        "maximum": spec.le,
        "maxLength": spec.max_length,
        "pattern": spec.pattern,
    }
    return dict(_SCHEMAS[spec.type]) | {name: value for name, value in optional.items() if value is not None}
