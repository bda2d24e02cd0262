"""The documented routes of the query service, and the OpenAPI paths of an environment's own endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from headwater.core.endpoints import CacheSpec, ColumnOrigin, ColumnSpec, LimitsSpec, LiveSpec
from headwater.core.snapshot import EndpointSpec, ParameterSpec
from headwater.engines.query.parameters import describe_span
from headwater.engines.query.result_types import json_schema
from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import Caller, HotHandler, Runtime
from headwater.services.query.catalog import CompiledEndpoint, CompiledQueries, rows_spec
from headwater.services.query.compiling import MAX_PAGE_ROWS
from headwater.services.query.formats import JSON_FORMATS, MEDIA_TYPES, ResultFormat
from headwater.services.query.paging import CURSOR_PARAMETER, LIMIT_PARAMETER

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
                "freshness": {
                    "type": "object",
                    "description": "When each table came to be as it is",
                    "additionalProperties": {"type": ["string", "null"], "format": "date-time"},
                },
                "next": {"type": ["string", "null"], "description": "The cursor to the next page"},
            },
        },
        "data": {"type": "array", "items": {"type": "object"}},
    },
}
_CONTENT: Final = {
    MEDIA_TYPES[form].partition(";")[0]: {"schema": _RESULT if form in JSON_FORMATS else {"type": "string"}}
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
_PAGING: Final = (
    ParameterSpec(
        name=LIMIT_PARAMETER,
        type="integer",
        ge=1,
        le=MAX_PAGE_ROWS,
        description="Rows of a page, by the key",
    ),
    ParameterSpec(name=CURSOR_PARAMETER, type="string", description="`meta.next` of the page before"),
)
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
    origins: dict[str, list[ColumnOrigin]] = Field(
        description="What the values of each column come from; a column of which that cannot be told is left out"
    )
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
    """Return an OpenAPI path for each version of the endpoints that ``caller`` may invoke, with the types of rows."""
    return {
        f"/v1/endpoints/{label}": {
            "get": _operation(
                one, label, "get", {"parameters": [_query_parameter(spec) for spec in _all_parameters(one)]}
            ),
            "post": _operation(
                one, label, "post", {"requestBody": {"content": {_JSON: {"schema": _body_schema(one)}}}}
            ),
        }
        for label, one in sorted(compiled.endpoints.items())
        if one.fault is None and one.is_open_to(caller)
    }


def row_schema(spec: EndpointSpec) -> dict[str, Any]:
    """Return the JSON schema of a row: every column is there, and policies may leave some out or make them null."""
    return {
        "type": "object",
        "properties": {column.name: json_schema(column.type) for column in spec.columns},
    }


def _open_to(caller: Caller, compiled: CompiledQueries) -> list[CompiledEndpoint]:
    return [one for _, one in sorted(compiled.endpoints.items()) if one.is_open_to(caller)]


def _describe(endpoint: CompiledEndpoint) -> EndpointOut:
    spec = endpoint.spec
    members = {name: getattr(spec, name) for name in EndpointOut.model_fields if name != "problem"}
    return EndpointOut.model_validate(
        {**members, "problem": endpoint.fault.detail if endpoint.fault else None}, from_attributes=True
    )


def _operation(endpoint: CompiledEndpoint, label: str, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    spec = endpoint.spec
    operation = {
        "tags": ["endpoints"],
        "operationId": f"{method}_endpoint_{label.replace('@', '_v')}",
        "summary": spec.description.partition("\n")[0] or spec.name,
        "description": spec.description,
        "responses": {"200": {"description": "The result", "content": _content(spec)}}
        | (_UNCHANGED if method == "get" else {}),
        **given,
    }
    return operation | ({"deprecated": True} if spec.deprecated_at is not None else {})


def _content(spec: EndpointSpec) -> dict[str, Any]:
    """Return the result in its formats, with rows of the endpoint's own type where that is known."""
    if not spec.columns:
        return dict(_CONTENT)
    row = row_schema(spec)
    whole = {**_RESULT, "properties": {**_RESULT["properties"], "data": {"type": "array", "items": row}}}
    columns = {name: {"type": "array", "items": schema} for name, schema in row["properties"].items()}
    columnar = {**whole, "properties": {**whole["properties"], "data": {"type": "object", "properties": columns}}}
    return {
        **_CONTENT,
        _JSON: {"schema": whole},
        MEDIA_TYPES[ResultFormat.COLUMNS]: {"schema": columnar},
        MEDIA_TYPES[ResultFormat.NDJSON]: {"schema": row},
    }


def _all_parameters(endpoint: CompiledEndpoint) -> list[ParameterSpec]:
    """Return its parameters and, where it has pages, those that ask for them."""
    own = list(endpoint.parameters.values())
    is_paged = endpoint.spec.key and not {one.name for one in _PAGING}.intersection(endpoint.parameters)
    return [*own, *_PAGING] if is_paged else own


def _query_parameter(spec: ParameterSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "in": "query",
        "required": spec.required,
        "description": _told(spec),
        "schema": _schema(spec),
    }


def _body_schema(endpoint: CompiledEndpoint) -> dict[str, Any]:
    parameters = endpoint.parameters.values()
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [spec.name for spec in parameters if spec.required],
        "properties": {spec.name: _schema(spec) | {"description": _told(spec)} for spec in parameters},
    }


def _body_content(endpoint: CompiledEndpoint) -> dict[str, Any]:
    return {_JSON: {"schema": _body_schema(endpoint)}}


def _schema(spec: ParameterSpec) -> dict[str, Any]:
    optional = {
        "enum": list(spec.values) or None,
        "minimum": spec.ge,
        "maximum": spec.le,
        "maxLength": spec.max_length,
        "pattern": spec.pattern,
    }
    one = dict(_SCHEMAS[spec.type]) | {name: value for name, value in optional.items() if value is not None}
    schema = {"type": "array", "items": one, "maxItems": spec.max_items} if spec.is_list else one
    return schema | ({"default": spec.default} if spec.default is not None else {})


def _told(spec: ParameterSpec) -> str:
    """Return a parameter's description with what a schema has no words for."""
    notes = [spec.description]
    if spec.relative is not None:
        notes.append(f"Default: {spec.relative} (UTC).")
    if spec.values_from is not None:
        notes.append("Its values come from the data.")
    notes += [f"At most {describe_span(seconds)} after `{other}`." for other, seconds in spec.max_span.items()]
    return " ".join(note for note in notes if note)
