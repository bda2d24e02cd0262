"""The ceiling for large answers: an ASGI application that reads the body and answers ``ANSWER_BYTES`` of JSON."""

import os
from typing import Any

SIZE = int(os.environ.get("ANSWER_BYTES", "20000"))
ANSWER = b'{"flags":"' + b"x" * (SIZE - 12) + b'"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
UNCHANGED = [(b"etag", b'"0"')]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if any(name == b"if-none-match" for name, _value in scope["headers"]):
        await send({"type": "http.response.start", "status": 304, "headers": UNCHANGED})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
