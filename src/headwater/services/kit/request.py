"""What the kit knows about one request, and reading its body within bounds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.services.kit.exchange import TAKE_BODY
from headwater.services.kit.service import ASGIScope, Caller, Runtime

CONTEXT: Final = "headwater"
MAX_DOCUMENT_BYTES: Final = 64 << 10
_DOCUMENT_STALL_SECONDS: Final = 10.0
_TRACEPARENT: Final = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_NO_TRACE: Final = b"0" * 32
_NO_VERSION: Final = b"ff"

M = TypeVar("M", bound=BaseModel)


class RequestContext:
    """What is known about a request so far: its id, and the caller once authenticated."""

    __slots__ = ("caller", "request_id")

    def __init__(self, request_id: str) -> None:
        """Begin with the id alone."""
        self.request_id = request_id
        self.caller: Caller | None = None


def context_of(scope: MutableMapping[str, Any]) -> RequestContext:
    """Return the context of a request, beginning one where no door did."""
    context = scope.get(CONTEXT)
    if context is None:
        context = scope[CONTEXT] = RequestContext(choose_request_id(scope["headers"]))
    assert isinstance(context, RequestContext)
    return context


def choose_request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the caller's trace id where its ``traceparent`` is well formed (W3C Trace Context), else a fresh id."""
    for name, value in headers:
        if name == b"traceparent":
            match = _TRACEPARENT.match(value)
            if match and match[1] != _NO_TRACE and not value.startswith(_NO_VERSION):
                return match[1].decode()
            break
    return new_id("req")


def authenticate(runtime: Runtime, scope: MutableMapping[str, Any]) -> Caller:
    """Return who sends this request, and note it for the log line and the ``Hw-Config-Version`` header.

    Raises:
        HeadwaterError: as ``Runtime.authenticate`` does.
    """
    client = scope.get("client")
    caller = runtime.authenticate(scope["headers"], client[0] if client else None)
    context_of(scope).caller = caller
    return caller


def find_header(scope: ASGIScope, name: bytes) -> bytes | None:
    """Return the first header of this lower-case name."""
    for found, value in scope["headers"]:
        if found == name:
            return bytes(value)
    return None


def declared_length(scope: ASGIScope) -> int | None:
    """Return the body's declared length in bytes; raises ``invalid_header`` when it is no number."""
    text = find_header(scope, b"content-length")
    if text is None:
        return None
    if not text.isdigit():
        raise HeadwaterError("invalid_header", "Content-Length must be a whole number")
    return int(text)


async def read_body(
    scope: ASGIScope,
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    *,
    max_bytes: int,
    stall_seconds: float,
) -> bytes:
    """Return the whole body.

    Raises:
        HeadwaterError: ``payload_too_large``, or ``request_timeout`` when nothing came for ``stall_seconds``.
    """
    length = declared_length(scope)
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    take = scope.get(TAKE_BODY)
    if take is not None and (whole := take()) is not None:
        if len(whole) > max_bytes:
            raise _too_large(max_bytes)
        return bytes(whole)
    chunks: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(stall_seconds):
                message = await receive()
        except TimeoutError as error:
            raise HeadwaterError(
                "request_timeout", f"no byte of the body came for {stall_seconds:g} s", hint="send it again"
            ) from error
        if message["type"] == "http.disconnect":
            raise HeadwaterError("request_timeout", "the connection closed before the body was complete")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return chunk if not chunks else b"".join([*chunks, chunk])
        chunks.append(chunk)


async def read_document(request: Request, model: type[M]) -> M:
    """Return a small JSON body as ``model``.

    For routes to call once they know who asks: a body declared to FastAPI is read before that, however long it is.

    Raises:
        HeadwaterError: as ``read_body`` does.
        RequestValidationError: the body is not as ``model`` wants it.
    """
    body = await read_body(
        dict(request.scope),
        request.receive,
        max_bytes=MAX_DOCUMENT_BYTES,
        stall_seconds=_DOCUMENT_STALL_SECONDS,
    )
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error


def document_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI members of a route that calls ``read_document``."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def _too_large(max_bytes: int) -> HeadwaterError:
    return HeadwaterError("payload_too_large", f"a body may have {max_bytes} bytes", hint="send it in smaller parts")
