"""The OpenAPI document: what FastAPI knows, bearer keys, problems, and the resources of the caller's environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response

import headwater
from headwater.core.errors import MEDIA_TYPE, PROBLEMS, ROW_CODES
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import Documented, Runtime, Service, WithSchemas

_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch", "head"})
_DESCRIPTION: Final = (
    "Validated ingest, typed SQL endpoints and model inference. Every call takes an API key, which names one project "
    "and environment: `Authorization: Bearer hw_…`. Ask for this document with a key to see that environment's own "
    "endpoints and models. Errors are `application/problem+json` (RFC 9457) with a stable `code`."
)
_PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "request_id": {"type": "string"},
        "hint": {"type": "string"},
        "retry_after": {"type": "integer", "description": "Seconds"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
_ROW_ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["code", "path", "message"],
    "properties": {
        "code": {"type": "string", "enum": sorted(ROW_CODES)},
        "path": {"type": "string", "description": "JSON Pointer (RFC 6901)"},
        "message": {"type": "string"},
        "expected": {},
        "actual": {"type": ["string", "null"]},
    },
}


def openapi_router(app: FastAPI, runtime: Runtime, services: Sequence[Service]) -> APIRouter:
    """Return ``/openapi.json``: public without a key, with the environment's own resources for who sends one."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def document(request: Request) -> Response:
        content = static_document(app)
        if "authorization" in request.headers:
            caller = authenticate(runtime, request.scope)
            paths, schemas = dict(content["paths"]), dict(content["components"]["schemas"])
            for service in services:
                if isinstance(service, Documented):
                    paths.update(_with_problems(dict(service.openapi_paths(caller))))
                if isinstance(service, WithSchemas):
                    schemas.update(service.openapi_schemas(caller))
            content = content | {"paths": paths, "components": content["components"] | {"schemas": schemas}}
        return JSONResponse(content)

    return router


def static_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of the routes every environment has; built once."""
    cached: dict[str, Any] | None = app.openapi_schema
    if cached is None:
        cached = get_openapi(
            title="Headwater", version=headwater.__version__, description=_DESCRIPTION, routes=app.routes
        )
        components = cached.setdefault("components", {})
        components.setdefault("securitySchemes", {})["bearer"] = {"type": "http", "scheme": "bearer"}
        schemas = components.setdefault("schemas", {})
        schemas["Problem"] = _PROBLEM_SCHEMA
        schemas["RowError"] = _ROW_ERROR_SCHEMA
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        cached["security"] = [{"bearer": []}]
        _with_problems(cached.get("paths", {}))
        app.openapi_schema = cached
    return cached


def _with_problems(paths: dict[str, Any]) -> dict[str, Any]:
    """Give every operation the one answer that every error has; FastAPI's own 422 never happens here."""
    for item in paths.values():
        for method, operation in item.items():
            if method in _METHODS:
                responses = operation.setdefault("responses", {})
                if "HTTPValidationError" in str(responses.get("422", "")):
                    del responses["422"]
                responses.setdefault("default", _problem_answer())
    return paths


def _problem_answer() -> dict[str, Any]:
    return {
        "description": "A problem",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
