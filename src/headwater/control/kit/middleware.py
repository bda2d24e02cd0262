"""Request ids and security headers, sync and async."""

from __future__ import annotations

import base64
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from headwater.control.kit.metrics import REQUESTS, SECONDS
from headwater.control.kit.requests import RequestContext, serving
from headwater.core.ids import new_id
from headwater.core.logging import get_logger

_log = get_logger(__name__)
_MACHINES: Final = ("/livez", "/readyz", "/metrics", "/internal/", "/static/")
_WORTH_A_LINE: Final = 400
_DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
_RESET_KEY: Final = re.compile(r"(?<=/password/reset/key/)[^/]+|(?<=/invitations/)[^/]+|(?<=/confirm-email/)[^/]+")
"""What the link in a mail carries: whoever reads it may set the password, or take the invitation up."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{8,100}")

GetResponse = Callable[[HttpRequest], HttpResponseBase]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@sync_and_async_middleware
def request_context(get_response: Any) -> Any:
    """Give every request an id (the caller's, if it is sane) that log lines and audit rows carry; log and count it."""
    if iscoroutinefunction(get_response):

        async def serve_async(request: HttpRequest) -> HttpResponseBase:
            started = time.perf_counter()
            with serving(_begin(request)):
                return _end(request, await get_response(request), time.perf_counter() - started)

        return serve_async

    def serve(request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        with serving(_begin(request)):
            return _end(request, get_response(request), time.perf_counter() - started)

    return serve


def _begin(request: HttpRequest) -> RequestContext:
    given = request.headers.get("Hw-Request-Id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
    request.META["HW_REQUEST_ID"] = request_id
    return RequestContext(request_id, request.META.get("REMOTE_ADDR") or "")


def _end(request: HttpRequest, response: HttpResponseBase, seconds: float) -> HttpResponseBase:
    response.headers["Hw-Request-Id"] = request.META["HW_REQUEST_ID"]
    REQUESTS.labels(request.method, response.status_code).inc()
    quiet = request.path_info.startswith(_MACHINES) and response.status_code < _WORTH_A_LINE
    if "wait" not in request.GET:
        SECONDS.observe(seconds)
    _log.log(
        logging.DEBUG if quiet else logging.INFO,
        "request",
        method=request.method,
        path=_RESET_KEY.sub("[redacted]", request.path_info),
        status=response.status_code,
        milliseconds=round(seconds * 1_000, 1),
    )
    return response


@sync_and_async_middleware
def security_headers(get_response: Any) -> Any:
    """Allow pages to load from this origin alone, and inline scripts only with this reply's nonce."""
    if iscoroutinefunction(get_response):

        async def serve_async(request: HttpRequest) -> HttpResponseBase:
            _make_nonce(request)
            return _protect(request, await get_response(request))

        return serve_async

    def serve(request: HttpRequest) -> HttpResponseBase:
        _make_nonce(request)
        return _protect(request, get_response(request))

    return serve


def csp_nonce(request: HttpRequest) -> dict[str, str]:
    """Give templates ``csp_nonce`` for their inline scripts."""
    return {"csp_nonce": request.META.get("HW_CSP_NONCE", "")}


def _make_nonce(request: HttpRequest) -> None:
    request.META["HW_CSP_NONCE"] = base64.b64encode(os.urandom(16)).decode()


def _protect(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    headers = response.headers
    is_page = headers.get("Content-Type", "").startswith("text/html")
    headers.setdefault("Content-Security-Policy", _page_policy(request, response) if is_page else _DATA_POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if settings.SESSION_COOKIE_SECURE:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


def _page_policy(request: HttpRequest, response: HttpResponseBase) -> str:
    # The admin's skin evaluates Alpine expressions in its markup and sets styles inline; nothing else of ours may.
    admin = request.path_info.startswith("/admin/")
    nonce = f"'nonce-{request.META['HW_CSP_NONCE']}'"
    script = f"'self' 'unsafe-eval' {nonce}" if admin else f"'self' {nonce}"
    style = "'self' 'unsafe-inline'" if admin else f"'self' {nonce}"
    # What a page opens streams of besides: the data plane, where it lies at another address.
    connect = " ".join(("'self'", *getattr(response, "connects_to", ())))
    return (
        f"default-src 'self'; script-src {script}; style-src {style}; img-src 'self' data:; font-src 'self'; "
        f"connect-src {connect}; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
