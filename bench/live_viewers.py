"""Many clients that watch one live result: raw sockets in one process, which notes when each event came to each.

Run by ``live.py``. Says ``ready`` once every client has its snapshot, and at the end of its input writes what came.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

_ID = re.compile(rb"id: [0-9a-f]+:([0-9]+)\n")
_NEWEST = re.compile(rb'"newest":([0-9]+)')


class Viewer(asyncio.Protocol):
    """One client: collects bytes until an event is whole."""

    def __init__(self, request: bytes, came: Callable[[bytes, float], None]) -> None:
        self._request = request
        self._came = came
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined] # streams can be written to

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._rest += data
        while (end := self._rest.find(b"\n\n")) >= 0:
            text, self._rest = self._rest[: end + 1], self._rest[end + 2 :]
            if b"\ndata: " in text:
                self._came(text, now)


async def watch(host: str, port: int, request: bytes, viewers: int) -> list[tuple[bytes, float]]:
    """Watch until the input ends; return each event that came to a client behind its snapshot, with the time."""
    came: list[tuple[bytes, float]] = []
    loop = asyncio.get_running_loop()

    def note(text: bytes, now: float) -> None:
        came.append((text, now))

    for _ in range(viewers):
        await loop.create_connection(lambda: Viewer(request, note), host, port)
    while len(came) < viewers:  # noqa: ASYNC110 - at the beginning, before anything is measured
        await asyncio.sleep(0.05)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    return came[viewers:]


def summary(came: list[tuple[bytes, float]]) -> list[dict[str, Any]]:
    """Return what is in each different event, and when it came to each client."""
    events: dict[bytes, list[float]] = {}
    for text, now in came:
        events.setdefault(text, []).append(now)
    return [
        {
            "kind": text[text.index(b"event: ") + 7 :].split(b"\n", 1)[0].decode(),
            "version": int(match[1]) if (match := _ID.search(text)) else None,
            "newest": max(map(int, _NEWEST.findall(text)), default=0),
            "bytes": len(text),
            "times": times,
        }
        for text, times in events.items()
    ]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    head = f"GET {given['path']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {given['key']}\r\n\r\n".encode()
    events_seen = uvloop.run(watch("127.0.0.1", given["port"], head, given["viewers"]))
    Path(given["output"]).write_text(json.dumps(summary(events_seen)))
