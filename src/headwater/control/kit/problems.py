"""Errors as RFC 9457 replies."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse

from headwater.core.errors import MEDIA_TYPE, HeadwaterError


def problem_response(error: HeadwaterError, request: HttpRequest) -> JsonResponse:
    """Return ``error`` as the reply to ``request``."""
    body = error.to_problem(instance=request.path, request_id=request.META.get("HW_REQUEST_ID", ""))
    response = JsonResponse(body, status=error.status, content_type=MEDIA_TYPE)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.code == "unauthenticated":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
