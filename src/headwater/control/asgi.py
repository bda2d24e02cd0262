"""The ASGI application: Django behind a limit on bodies.

Django writes a whole body to a file before anything looks at the request, whoever sent it. The limit is what keeps
strangers from filling the disk; for artifacts, which are large, the sender is asked for first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import close_old_connections

from headwater.core.errors import MEDIA_TYPE, HeadwaterError
from headwater.core.ids import new_id

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "headwater.control.settings")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ARTIFACTS: Final = "/api/v1/artifacts/"


class BodyTooLarge(Exception):
    """More has come than the address takes."""


class BodyLimit:
    """Refuses a body with 413 as soon as it is known to be too large, and an artifact of somebody unknown unread."""

    def __init__(self, application: Callable[..., Awaitable[None]], admit: Callable[[Message], None]) -> None:
        """Stand in front of ``application``; ``admit`` raises for who may not put artifacts, and may block."""
        self._application = application
        self._admit = admit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, its body counted."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        limit = _limit_of(scope["path"])
        left = limit

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise BodyTooLarge
            return message

        too_large = HeadwaterError("payload_too_large", f"a request to this address has at most {limit >> 20} MiB")
        try:
            _check_coding(scope)
            if _declared(scope) > limit:
                raise too_large
            if scope["path"].startswith(ARTIFACTS):
                await sync_to_async(self._admit)(scope)
        except HeadwaterError as error:
            await _refuse(scope["path"], error, send)
            return
        try:
            await self._application(scope, counted, send)
        except BodyTooLarge:
            await _refuse(scope["path"], too_large, send)


def _limit_of(path: str) -> int:
    largest: int = settings.MAX_ARTIFACT_BYTES if path.startswith(ARTIFACTS) else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return largest


def _declared(scope: Message) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _check_coding(scope: Message) -> None:
    """Refuse a transfer coding that the server does not undo (RFC 9112 §6.1)."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise HeadwaterError("transfer_coding_unsupported", "Transfer-Encoding: only chunked is understood")


async def _refuse(path: str, error: HeadwaterError, send: Send) -> None:
    body = json.dumps(error.to_problem(instance=path, request_id=new_id("req"))).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if error.code == "unauthenticated":
        headers.append((b"www-authenticate", b"Bearer"))
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_django = get_asgi_application()


def _admit(scope: Message) -> None:
    # Loaded when first asked: Django's applications are ready by then.
    from headwater.control.api.artifacts import admit  # noqa: PLC0415

    close_old_connections()  # Django does this when a request begins, which is not yet
    admit(dict(scope))


application = BodyLimit(_django, _admit)
