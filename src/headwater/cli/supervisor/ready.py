"""How the supervisor finds out that a child does its work."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from headwater.core.settings import reachable

Probe = Callable[[float], Awaitable[str | None]]
"""Called with the time (epoch seconds) of the child's start; returns what is missing, in words, or None when ready."""

_TIMEOUT_SECONDS: Final = 3.0
_CONFIRM_SECONDS: Final = 10.0
_MOST_BYTES: Final = 64 << 10


async def always(_started: float) -> str | None:
    """Probe for what needs none."""
    return None


def http(host: str, port: int, path: str = "/readyz") -> Probe:
    """Return a probe that asks ``GET path`` for a 200."""

    async def probe(_started: float) -> str | None:
        status, document = await ask(host, port, path)
        if status is None:
            return f"nothing answers on port {port} yet"
        if status == HTTPStatus.OK:
            return None
        return "; ".join(map(str, document.get("problems", ()))) or f"it answers {status}"

    return probe


def services(host: str, port: int) -> Probe:
    """Return a probe for services that serve what control has now.

    They could serve what lies on disk at once, but a key made a moment ago is not in it. When control does not speak up
    in time they are ready all the same.
    """
    serves = http(host, port)

    async def probe(started: float) -> str | None:
        problem = await serves(started)
        if problem is not None or time.time() - started > _CONFIRM_SECONDS:
            return problem
        _, document = await ask(host, port, "/readyz")
        return None if document.get("config_confirmed", True) else "control has not confirmed its configuration yet"

    return probe


async def ask(host: str, port: int, path: str) -> tuple[int | None, dict[str, Any]]:
    """Return status and JSON object of a plain GET; None when there is no answer.

    An HTTP client would cost the supervisor 20 MB.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            status, body = await _get(reachable(host), port, path)
    except (OSError, TimeoutError):
        return None, {}
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    return status, document if isinstance(document, dict) else {}


def fresh_file(path: Path) -> Probe:
    """Return a probe for a heartbeat: a file that the child has written since its start."""

    async def probe(started: float) -> str | None:
        try:
            written_at = path.stat().st_mtime  # noqa: ASYNC240 - one look at a local file
        except OSError:
            written_at = 0.0
        return None if written_at >= started else "no heartbeat yet"

    return probe


def unix_socket(path: Path) -> Probe:
    """Return a probe that connects to a socket."""

    async def probe(_started: float) -> str | None:
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError:
            return "its socket does not answer yet"
        writer.close()
        return None

    return probe


async def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Return status and body."""
    reader, writer = await asyncio.open_connection(host.strip("[]"), port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        reply = bytearray()
        while len(reply) < _MOST_BYTES and (chunk := await reader.read(_MOST_BYTES)):
            reply += chunk
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    head, _, body = bytes(reply).partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004 - HTTP/1.1 and the status
        raise OSError("no HTTP answer")
    return int(words[1]), body
