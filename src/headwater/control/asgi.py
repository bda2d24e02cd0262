"""The ASGI application: Django behind a limit on bodies.

Django writes a whole body to a file before anything looks at the request, whoever sent it. The limit is what keeps
strangers from filling the disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from django.conf import settings
from django.core.asgi import get_asgi_application

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
    """Refuses a body with 413 as soon as it is known to be too large."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        """Stand in front of ``application``."""
        self._application = application

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

        if _declared(scope) > limit:
            await _refuse(scope["path"], limit, send)
            return
        try:
            await self._application(scope, counted, send)
        except BodyTooLarge:
            await _refuse(scope["path"], limit, send)


def _limit_of(path: str) -> int:
    largest: int = settings.MAX_ARTIFACT_BYTES if path.startswith(ARTIFACTS) else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return largest


def _declared(scope: Message) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


async def _refuse(path: str, limit: int, send: Send) -> None:
    error = HeadwaterError("payload_too_large", f"a request to this address has at most {limit >> 20} MiB")
    body = json.dumps(error.to_problem(instance=path, request_id=new_id("req"))).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = BodyLimit(get_asgi_application())
