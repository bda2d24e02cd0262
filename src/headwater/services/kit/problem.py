"""Errors on the wire: one shape for every answer that is not a success (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headwater.core.errors import MEDIA_TYPE, HeadwaterError
from headwater.core.logging import get_logger
from headwater.services.kit.request import context_of
from headwater.services.kit.service import ASGIScope

_log = get_logger(__name__)
_MEDIA_TYPE: Final = MEDIA_TYPE.encode()
_INTERNAL: Final = "/internal/"
# Their details say where things lie on this machine, which is for its operators and for control.
_WITH_PLACES: Final = frozenset({"journal_unavailable", "storage_exhausted"})
_BY_STATUS: Final = {
    HTTPStatus.UNAUTHORIZED: "unauthenticated",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.NOT_ACCEPTABLE: "not_acceptable",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limited",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded",
}


def problem_body(error: HeadwaterError, *, instance: str, request_id: str) -> bytes:
    """Return the problem document as JSON; of the machine's own troubles callers learn no more than that they are."""
    if error.code in _WITH_PLACES and not instance.startswith(_INTERNAL):
        _log.error("request_refused", code=error.code, detail=error.detail, hint=error.hint, request_id=request_id)
        error = HeadwaterError(
            error.code,
            hint="send the request again, with the same Idempotency-Key if it has one",
            retry_after_seconds=error.retry_after_seconds,
        )
    return orjson.dumps(
        error.to_problem(instance=instance, request_id=request_id), default=str, option=orjson.OPT_NON_STR_KEYS
    )


def problem_headers(error: HeadwaterError) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to a problem: its media type, and when to retry or how to authenticate."""
    headers = [(b"content-type", _MEDIA_TYPE)]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    if limit := error.extra.get("limit"):
        headers += [
            (b"ratelimit-policy", f'"{limit["name"]}";q={limit["quota"]};w={limit["window_seconds"]}'.encode()),
            (b"ratelimit", f'"{limit["name"]}";r=0;t={error.retry_after_seconds or 1}'.encode()),
        ]
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Bearer realm="headwater"'))
    return headers


def problem_response(
    error: HeadwaterError, *, instance: str, request_id: str, headers: Sequence[tuple[str, str]] = ()
) -> Response:
    """Return the problem as a response for FastAPI routes and exception handlers."""
    response = Response(problem_body(error, instance=instance, request_id=request_id), status_code=error.status)
    for name, value in problem_headers(error):
        response.headers[name.decode()] = value.decode()
    for header, text in headers:
        response.headers[header] = text
    return response


async def send_problem(
    scope: ASGIScope, send: Callable[[dict[str, Any]], Awaitable[None]], error: HeadwaterError
) -> None:
    """Answer a raw ASGI request with the problem."""
    body = problem_body(error, instance=scope["path"], request_id=context_of(scope).request_id)
    headers = [*problem_headers(error), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def internal_error(scope: MutableMapping[str, Any], error: BaseException) -> HeadwaterError:
    """Log an unforeseen error with its traceback and return what the caller may know about it: nothing but the id."""
    request_id = context_of(scope).request_id
    _log.error(
        "request_failed",
        method=scope.get("method"),
        path=scope.get("path"),
        request_id=request_id,
        exc_info=(type(error), error, error.__traceback__),
    )
    return HeadwaterError("internal", hint=f"report the request id {request_id}")


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of a FastAPI application a problem document."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, HeadwaterError)
        return _respond(request, error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _respond(request, _from_status(error, request), headers=list((error.headers or {}).items()))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _respond(request, _from_validation(error))

    async def unforeseen(request: Request, error: Exception) -> Response:
        return _respond(request, internal_error(request.scope, error))

    app.add_exception_handler(HeadwaterError, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unforeseen)


def _respond(request: Request, error: HeadwaterError, headers: Sequence[tuple[str, str]] = ()) -> Response:
    request_id = context_of(request.scope).request_id
    path = request.scope["path"]  # the request's own URL fails where its query string is not UTF-8
    return problem_response(error, instance=path, request_id=request_id, headers=headers)


def _from_status(error: HTTPException, request: Request) -> HeadwaterError:
    """Return the registered problem for a framework's status."""
    fallback = "internal" if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_parameter"
    code = _BY_STATUS.get(HTTPStatus(error.status_code), fallback)
    path = request.scope["path"]
    if code == "not_found" and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return HeadwaterError(code, f"there is nothing at {path}", hint="see /docs for every address")
    if code == "method_not_allowed":
        allowed = (error.headers or {}).get("Allow", "")
        return HeadwaterError(code, f"{request.method} is not allowed at {path}", hint=f"use {allowed}")
    return HeadwaterError(code, None if code == "internal" else error.detail)


def _from_validation(error: RequestValidationError) -> HeadwaterError:
    """Return FastAPI's complaints as ``invalid_parameter`` (query, path, header) or ``malformed_body``."""
    found = [
        {
            "in": str(item["loc"][0]),
            "path": "/" + "/".join(str(part) for part in item["loc"][1:]),
            "message": item["msg"],
        }
        for item in error.errors()
    ]
    in_body = bool(found) and all(item["in"] == "body" for item in found)
    first = found[0] if found else {"in": "request", "path": "/", "message": "not valid"}
    return HeadwaterError(
        "malformed_body" if in_body else "invalid_parameter",
        f"{first['in']} {first['path']}: {first['message']}",
        extra={"errors": found},
    )
