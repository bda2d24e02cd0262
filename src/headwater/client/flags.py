"""The calls about feature flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from headwater.client.calls import Call, checked, segment
from headwater.client.encoding import encode_rows
from headwater.client.errors import ApiError, ClientError


def evaluate(key: str, context: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Ask for one flag, once: an application that waits for a flag is worse off than with its default."""
    body = b'{"context":' + b"".join(encode_rows([context])) + b"}"
    headers = {"Content-Type": "application/json"}
    path = f"/ofrep/v1/evaluate/flags/{segment(key)}"
    return Call("POST", path, _read, headers=headers, body=body, attempts=1)


def value_of(answer: Mapping[str, Any], default: Any) -> Any:
    """Return the value of an answer if it is of the default's type, else the default."""
    value = answer.get("value")
    if isinstance(default, float) and type(value) is int:
        return float(value)
    return value if type(value) is type(default) else default


def _read(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise _error(response)
    found = checked(response).json()
    if not isinstance(found, dict):
        raise ClientError(f"the server answered {type(found).__name__} where an object was expected")
    return found


def _error(response: httpx.Response) -> ApiError:
    """Return the error of an answer; those of the protocol have a code and details of their own."""
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if isinstance(document, dict) and "errorCode" in document:
        problem = {"code": str(document["errorCode"]).lower(), "detail": document.get("errorDetails")}
        return ApiError(response.status_code, problem, headers=response.headers)
    return ApiError.from_response(response)
