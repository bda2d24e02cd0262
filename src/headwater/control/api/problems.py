"""Errors of the control API as problem documents, with the same codes as the data plane's."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DataError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from headwater.control.kit.problems import problem_response
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

#: Of what is told about a request that is wrong in more places than anybody reads.
_MOST: Final = 100
_LONGEST: Final = 200
_log: Final = get_logger(__name__)
_BY_STATUS: Final = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 429: "rate_limited"}


def install_handlers(api: NinjaAPI) -> None:
    """Let ``api`` answer every error with a problem document."""
    for kind, handle in (
        (HeadwaterError, _respond),
        (ValidationError, _on_validation),
        (Http404, _on_missing),
        (PermissionDenied, _on_denied),
        (RequestDataTooBig, _on_too_large),
        (OperationalError, _on_busy),
        (DataError, _on_unstorable),
        (AuthenticationError, _on_unauthenticated),
        (HttpError, _on_http),
        (Exception, _on_surprise),
    ):
        api.add_exception_handler(kind, handle)  # type: ignore[arg-type]


def with_problems(pattern: URLPattern | URLResolver) -> URLPattern | URLResolver:
    """Let an address answer a method it does not have with a problem document as well."""
    if isinstance(pattern, URLResolver):
        return pattern
    view = pattern.callback

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = view(request, *args, **kwargs)
        if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
            return response
        allowed = response.headers.get("Allow", "")
        problem = _respond(request, HeadwaterError("method_not_allowed", f"{request.method} is not allowed here"))
        problem.headers["Allow"] = allowed
        return problem

    pattern.callback = guarded
    return pattern


def nothing_here(request: HttpRequest, _rest: str) -> HttpResponse:
    """Answer an address below the API that nothing has."""
    return _respond(request, HeadwaterError("not_found", hint="see /api/v1/docs for every address"))


def _respond(request: HttpRequest, error: HeadwaterError) -> HttpResponse:
    return problem_response(error, request)


def _on_validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [{"path": _pointer(item["loc"])[:_LONGEST], "message": item["msg"]} for item in error.errors[:_MOST]]
    first = errors[0]
    detail = f"{first['path']}: {first['message']}"
    return _respond(request, HeadwaterError("invalid_parameter", detail, extra={"errors": errors}))


def _on_missing(request: HttpRequest, error: Http404) -> HttpResponse:  # noqa: ARG001 - ninja's signature
    return _respond(request, HeadwaterError("not_found"))


def _on_denied(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    return _respond(request, HeadwaterError("forbidden", str(error) or None))


def _on_too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:  # noqa: ARG001
    limit = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) >> 20
    return _respond(request, HeadwaterError("payload_too_large", f"a request has at most {limit} MiB"))


def _on_busy(request: HttpRequest, error: OperationalError) -> HttpResponse:
    _log.warning("control_database_busy", path=request.path, error=str(error).strip())
    problem = HeadwaterError("overloaded", "the control database is busy", retry_after_seconds=1)
    return _respond(request, problem)


def _on_unstorable(request: HttpRequest, error: DataError) -> HttpResponse:
    # PostgreSQL refuses what SQLite takes: a NUL in a text, a text longer than its column.
    detail = f"the request holds what the database cannot: {str(error).strip().splitlines()[0]}"
    return _respond(request, HeadwaterError("invalid_parameter", detail))


def _on_unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:  # noqa: ARG001
    hint = "send `Authorization: Bearer hw_…`, or sign in at /accounts/login/"
    return _respond(request, HeadwaterError("unauthenticated", hint=hint))


def _on_http(request: HttpRequest, error: HttpError) -> HttpResponse:
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        code = "malformed_body" if error.status_code < 500 else "internal"  # noqa: PLR2004 - the server's errors
    return _respond(request, HeadwaterError(code, error.message))


def _on_surprise(request: HttpRequest, error: Exception) -> HttpResponse:
    _log.error("control.request_failed", path=request.path, exc_info=error)
    hint = "report it with the request_id of this answer"
    return _respond(request, HeadwaterError("internal", hint=hint))


def _pointer(location: tuple[Any, ...] | list[Any]) -> str:
    """Return where in the request: ``body/name``, ``query/limit``."""
    # ninja names the handler's argument between "body" and the field; it means nothing to a caller.
    parts = [str(part) for part in location]
    if len(parts) > 2 and parts[0] in ("body", "query", "path") and not parts[1].isdecimal():  # noqa: PLR2004
        parts.pop(1)
    return "/".join(parts)
