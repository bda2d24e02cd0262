"""The OpenAPI document: short names, a sentence for each operation, and the one answer that every error has."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from ninja.parser import Parser

from headwater.control.api.revisions import IF_MATCH
from headwater.core.errors import MEDIA_TYPE, PROBLEMS, HeadwaterError
from headwater.core.setting_sections import SLUG

_OURS: Final = "headwater.control.api."
_WRITES: Final = frozenset({"post", "put", "patch", "delete"})
_USUAL: Final = {
    400: "invalid_parameter",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "project_invalid",
    500: "internal",
}
"""The code to be expected with a status: the document's example."""
_NAMES: Final = {"organization": "default", "project": "default", "environment": "development", "key": "staging"}
_PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457). `code` is stable; `hint` says what to do about it.",
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
        "errors": {
            "type": "array",
            "description": "Each thing that is wrong, where there may be several",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {
                    "source": {"type": "string", "description": "The file, when a project is applied"},
                    "path": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


class StrictParser(Parser):
    """Reads JSON as it is defined: ``NaN`` and half a character, which cannot be stored or sent, are none."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the document of a body; whatever this raises becomes a problem."""
        return msgspec.json.decode(request.body)


class ControlApi(NinjaAPI):
    """The control API with its document."""

    def __init__(self, **options: Any) -> None:
        super().__init__(parser=StrictParser(), **options)
        self._documents: dict[str, OpenAPISchema] = {}

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return ``datasets_list_datasets`` for a view of ours; those of a project keep their modules' names."""
        view = operation.view_func
        return f"{view.__module__.removeprefix(_OURS)}_{view.__name__}".replace(".", "_")

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """Return the document below a prefix; it is built once, for anybody may ask for it and it takes long."""
        prefix = self.get_root_path(path_params or {}) if path_prefix is None else path_prefix
        if prefix not in self._documents:
            self._documents[prefix] = self._build(prefix)
        return self._documents[prefix]

    def _build(self, prefix: str) -> OpenAPISchema:
        document = super().get_openapi_schema(path_prefix=prefix)
        schemas = document["components"]["schemas"]
        schemas["Problem"] = _PROBLEM_SCHEMA
        _illustrate(schemas)
        for path, item in document["paths"].items():
            for method, operation in item.items():
                _say(operation)
                if _takes_revision(operation, schemas):
                    operation["parameters"] = [*operation["parameters"], IF_MATCH]
                operation["responses"] |= _problems(path, method, operation)
        return document


def _illustrate(schemas: dict[str, Any]) -> None:
    """Give names an example; the documentation page would make up a random one that fits their pattern."""
    for schema in schemas.values():
        for name, value in schema.get("properties", {}).items():
            patterns = {item.get("pattern") for item in (value, *value.get("anyOf", ()))}
            if SLUG in patterns and "examples" not in value:
                value["examples"] = [_NAMES.get(name, "my-name")]


def _say(operation: dict[str, Any]) -> None:
    """Let the first sentence of what a view says be the summary, and the rest the description."""
    summary, _, rest = operation.pop("description", operation["summary"]).strip().partition("\n\n")
    operation["summary"] = " ".join(summary.replace("`", "").split()).removesuffix(".")
    if rest:
        operation["description"] = rest


def _takes_revision(operation: dict[str, Any], schemas: dict[str, Any]) -> bool:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
    return "revision" in schemas.get(name, {}).get("properties", {})


def _problems(path: str, method: str, operation: dict[str, Any]) -> dict[int | str, Any]:
    """Return the problems that an operation may answer with: those to be expected by their status, and the rest."""
    found = {401: "The key is unknown, expired or revoked", 403: "The caller may not do this"}
    if operation["parameters"] or "requestBody" in operation:
        found[400] = "A parameter or the body cannot be read"
    if "{" in path:
        found[404] = "There is no such thing, or not for the caller"
    if method in _WRITES:
        found[409] = "It is not in the state, or at the revision, that the caller believes"
    if "requestBody" in operation:
        found[422] = "What was sent is not valid"
    known: dict[int | str, Any] = {status: _answer(text, status) for status, text in sorted(found.items())}
    return known | {"default": _answer("A problem", 500)}


def _answer(description: str, status: int) -> dict[str, Any]:
    error = HeadwaterError(_USUAL[status])
    shown = error.to_problem(instance="/api/v1/…", request_id="req_01J0ABCDEFGHJKMNPQRSTVWXYZ")
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": shown}},
    }
