"""Reading what is asked, and the protocol's own errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from headwater.core.flags.outcomes import InvalidContext, Subject
from headwater.services.flags.catalog import ServedFlags, error_body

MAX_BODY_BYTES: Final = 256 << 10
JSON: Final = (b"content-type", b"application/json")
_STATUS: Final = {"FLAG_NOT_FOUND": 404}

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Unanswerable(Exception):
    """A request that the protocol answers with an error code of its own."""

    def __init__(self, code: str, details: str) -> None:
        """Keep both."""
        super().__init__(details)
        self.code = code
        self.details = details


class _Question(msgspec.Struct):
    context: dict[str, Any] | None = None


_decode: Final = msgspec.json.Decoder(_Question).decode


def read_subject(served: ServedFlags, body: bytes) -> Subject:
    """Return whom a body asks about; raises ``Unanswerable``."""
    try:
        context = _decode(body).context or {}
    except msgspec.ValidationError as error:
        raise Unanswerable("INVALID_CONTEXT", f'{error}; send {{"context": {{…}}}}') from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unanswerable("PARSE_ERROR", f'the body is not JSON: {error}; send {{"context": {{…}}}}') from error
    try:
        return served.compiled.subject(context)
    except InvalidContext as error:
        raise Unanswerable("INVALID_CONTEXT", str(error)) from error


async def send_error(send: Send, code: str, details: str, key: str | None = None) -> None:
    """Answer with an error of the protocol."""
    await send_whole(send, _STATUS.get(code, 400), error_body(code, details, key), (JSON,))


async def send_whole(send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """Send a reply in one piece."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
