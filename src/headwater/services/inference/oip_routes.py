"""The documented routes of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response

from headwater.services.inference.oip import OipHandler
from headwater.services.kit.asgi import HandlerResponse

_ERROR: Final = {
    "description": "An error of the protocol",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    },
}
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string", "description": "BOOL, INT8 to INT64, UINT8 to UINT64, FP16 to FP64, or BYTES"},
        "data": {"type": "array", "items": {}, "description": "Row by row, flat or nested"},
        "parameters": {"type": "object", "description": "`binary_data_size`: the tensor follows the JSON as bytes"},
    },
}
_REQUEST: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
        "parameters": {"type": "object"},
    },
}
_INFER: Final[dict[str, Any]] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _REQUEST},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
                "description": "Length of the JSON, where tensors follow it as bytes",
            }
        ],
    },
    "responses": {"default": _ERROR},
}
_READ: Final[dict[str, Any]] = {"responses": {"default": _ERROR}}


def oip_router(handler: OipHandler) -> APIRouter:
    """Return every route of the protocol; what is not among them has the protocol's error as well."""
    router = APIRouter(tags=["open inference protocol"])

    async def describe() -> Response:
        return HandlerResponse(handler.describe)

    async def infer() -> Response:
        return HandlerResponse(handler.infer)

    for path, name, summary in (
        ("/v2", "v2_server", "Describe the server"),
        ("/v2/health/live", "v2_live", "Say whether the server runs"),
        ("/v2/health/ready", "v2_ready", "Say whether the server has its configuration"),
        ("/v2/models/{model}", "v2_model", "Describe a model"),
        ("/v2/models/{model}/versions/{version}", "v2_version", "Describe a version"),
        ("/v2/models/{model}/ready", "v2_model_ready", "Say whether a model can be asked"),
        ("/v2/models/{model}/versions/{version}/ready", "v2_version_ready", "Say whether a version can be asked"),
    ):
        router.add_api_route(path, describe, methods=["GET"], name=name, summary=summary, **_READ)
    router.add_api_route(
        "/v2/repository/index", describe, methods=["POST"], name="v2_index", summary="List models and versions", **_READ
    )
    router.add_api_route(
        "/v2/models/{model}/infer", infer, methods=["POST"], name="v2_infer", summary="Ask a model", **_INFER
    )
    router.add_api_route(
        "/v2/models/{model}/versions/{version}/infer",
        infer,
        methods=["POST"],
        name="v2_infer_version",
        summary="Ask one version of a model",
        **_INFER,
    )
    for path in ("/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"):
        router.add_api_route(path, describe, methods=["POST"], include_in_schema=False)
    router.add_api_route("/v2/{path:path}", describe, methods=["GET", "POST"], include_in_schema=False)
    return router
