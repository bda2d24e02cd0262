"""Answers for readers of the console: control says who reads, and the reader's own grants and policies decide.

The kit guards these routes with the node token, so only control can ask as somebody; what it hands over of the reader
is what a key of theirs would hold. Everything else is as for any caller: the same handlers, limits and policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from headwater.core.errors import HeadwaterError
from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.request import read_document
from headwater.services.kit.service import ASGIScope, Caller, HotHandler, Runtime
from headwater.services.kit.viewing import Viewing, as_viewer

__all__ = ["MakeHandler", "ViewerRuntime", "Viewing", "as_viewer", "viewing_router"]


class ViewerRuntime:
    """The runtime as one reader meets it: every request is theirs."""

    def __init__(self, runtime: Runtime, caller: Caller) -> None:
        """Stand before ``runtime``."""
        self._runtime = runtime
        self._caller = caller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def authenticate(self, *_: Any) -> Caller:
        """Return the reader, whatever the request says of itself."""
        return self._caller


MakeHandler = Callable[[Runtime], HotHandler]


def viewing_router(runtime: Runtime, endpoint: MakeHandler, rows: MakeHandler) -> APIRouter:
    """Return the routes below ``/internal/v1``; the makers give handlers that answer for a given runtime."""
    router = APIRouter()

    @router.post("/viewing/{environment_id}/datasets/{dataset}/rows")
    async def view_rows(request: Request, environment_id: str, dataset: str) -> Response:
        viewing = await read_document(request, Viewing)
        handler = rows(ViewerRuntime(runtime, as_viewer(runtime, environment_id, viewing)))
        return HandlerResponse(_asked(handler, {"dataset": dataset}, viewing))

    @router.post("/viewing/{environment_id}/endpoints/{endpoint_name}")
    async def view_endpoint(request: Request, environment_id: str, endpoint_name: str) -> Response:
        viewing = await read_document(request, Viewing)
        handler = endpoint(ViewerRuntime(runtime, as_viewer(runtime, environment_id, viewing)))
        return HandlerResponse(_asked(handler, {"endpoint": endpoint_name}, viewing))

    return router


def _asked(handler: HotHandler, names: Mapping[str, str], viewing: Viewing) -> HotHandler:
    """Return a handler that asks ``handler`` by a GET of its own and stops an answer that is too long for a page."""
    headers = [(b"accept", viewing.accept.encode())]
    if viewing.if_none_match:
        headers.append((b"if-none-match", viewing.if_none_match.encode()))

    async def answer(scope: ASGIScope, receive: Any, send: Any) -> None:
        question = {
            **scope,
            "method": "GET",
            "path_params": dict(names),
            "query_string": urlencode(viewing.parameters, doseq=True).encode(),
            "headers": headers,
        }
        held: list[dict[str, Any]] = []
        size = 0

        async def hold(message: dict[str, Any]) -> None:
            nonlocal size
            size += len(message.get("body", b""))
            if size > viewing.max_bytes:
                raise HeadwaterError(
                    "payload_too_large", "the answer is too long for a page", hint="ask for fewer rows"
                )
            held.append(message)

        await handler(question, receive, hold)
        for message in held:
            await send(message)

    return answer
