"""Answers that are longer than memory: lines, a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

NDJSON: Final = "application/x-ndjson"
_CHUNK_LINES: Final = 500


def stream_lines(request: HttpRequest, records: Iterable[dict[str, Any]], *, name: str) -> StreamingHttpResponse:
    """Return ``records`` as a file ``name`` of JSON lines. They are asked for while the reply is sent."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return stream_text(request, lines, name=name, media=NDJSON)


def stream_text(request: HttpRequest, lines: Iterable[str], *, name: str, media: str) -> StreamingHttpResponse:
    """Return ``lines`` with their ends as a file ``name``. They are asked for while the reply is sent."""
    chunks = _chunks(iter(lines))
    # Django would collect a plain iterator in memory before the first byte, where it serves asynchronously.
    content = _asynchronously(chunks) if isinstance(request, ASGIRequest) else chunks
    response = StreamingHttpResponse(content, content_type=media)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _chunks(lines: Iterator[str]) -> Iterator[bytes]:
    while taken := list(islice(lines, _CHUNK_LINES)):
        yield "".join(taken).encode()


async def _asynchronously(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    following = sync_to_async(lambda: next(chunks, None))
    while (chunk := await following()) is not None:
        yield chunk
