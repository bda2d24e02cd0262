"""Draws charts in a process of its own, which is started when needed, killed when it hangs and gone when idle."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import headwater
from headwater.core.logging import get_logger
from headwater.engines.charts.wire import Severed, receive, send

TIMEOUT_SECONDS: Final = 10.0
BATCH_SECONDS: Final = 25.0
IDLE_SECONDS: Final = 45.0
CACHE_BYTES: Final = 8 << 20
SPARED_SECONDS: Final = 60.0
_SOURCE: Final = str(Path(headwater.__file__).parents[1])
_log = get_logger(__name__)


class ChartFailed(Exception):
    """An image could not be drawn; says why."""


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    connection: socket.socket

    def end(self) -> None:
        """Kill it, whatever it does."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


class ChartRenderer:
    """One process for all threads, which take turns. What was drawn before is taken from a cache by content."""

    def __init__(
        self,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        batch_seconds: float = BATCH_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        command: Sequence[str] = (sys.executable, "-P", "-m", "headwater.engines.charts"),
    ) -> None:
        """Start nothing yet.

        Args:
            timeout_seconds: for one image, the start of a process included; a process that takes longer is killed.
            batch_seconds: for all images of one call, the turns of others included.
            idle_seconds: for how long a process waits for the next image before it ends.
            command: what draws; it is given how long to be idle and how long one image may take.
        """
        self._timeout_seconds = timeout_seconds
        self._batch_seconds = batch_seconds
        self._command = [*command, str(idle_seconds), str(int(timeout_seconds) + 5)]
        self._child: _Child | None = None
        self._turn = threading.Lock()
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._hung: dict[str, float] = {}
        self._cache_lock = threading.Lock()

    def draw(self, specs: Sequence[Mapping[str, Any]]) -> list[str | ChartFailed]:
        """Return each Vega-Lite specification as SVG, or why it could not be drawn. Blocks."""
        found = self._answer([{"spec": dict(spec)} for spec in specs])
        return [one if isinstance(one, ChartFailed) else one.decode() for one in found]

    def rasterize(self, svg: str, *, scale: float = 2.0) -> bytes:
        """Return an SVG document as PNG. Blocks.

        Raises:
            ChartFailed: it cannot be drawn.
        """
        (found,) = self._answer([{"svg": svg, "scale": scale}])
        if isinstance(found, ChartFailed):
            raise found
        return base64.b64decode(found)

    def script(self) -> str:
        """Return the JavaScript that draws the same charts in a browser, some 0.9 MB. Blocks.

        Raises:
            ChartFailed: it cannot be made.
        """
        (found,) = self._answer([{"script": True}])
        if isinstance(found, ChartFailed):
            raise found
        return found.decode()

    def close(self) -> None:
        """End the process, if one runs."""
        with self._turn:
            self._end()

    def _answer(self, requests: list[dict[str, Any]]) -> list[bytes | ChartFailed]:
        deadline = time.monotonic() + self._batch_seconds
        keys = [_digest(request) for request in requests]
        found: list[bytes | ChartFailed | None] = [self._remembered(key) for key in keys]
        if None in found and not self._turn.acquire(timeout=self._batch_seconds):
            return [ChartFailed("others draw at the moment") if one is None else one for one in found]
        if None in found:
            try:
                for at, request in enumerate(requests):
                    if found[at] is None:
                        # Somebody else may have drawn it meanwhile.
                        found[at] = self._remembered(keys[at]) or self._drawn(keys[at], request, deadline)
            finally:
                self._turn.release()
        return [one if one is not None else ChartFailed("not drawn") for one in found]

    def _drawn(self, key: str, request: dict[str, Any], deadline: float) -> bytes | ChartFailed:
        until = min(deadline, time.monotonic() + self._timeout_seconds)
        if until <= time.monotonic():
            return ChartFailed("there was no time left to draw it")
        try:
            reply = self._asked(request, until)
        except (Severed, TimeoutError, OSError) as error:
            self._end()
            if isinstance(error, TimeoutError):
                with self._cache_lock:
                    self._hung[key] = time.monotonic() + SPARED_SECONDS
            _log.warning("chart_process_killed", error=str(error) or type(error).__name__)
            return ChartFailed("drawing it took too long" if isinstance(error, TimeoutError) else f"{error}")
        if "error" in reply:
            return ChartFailed(str(reply["error"]))
        image = str(reply.get("svg") or reply.get("png") or reply.get("script") or "").encode()
        self._remember(key, image)
        return image

    def _asked(self, request: dict[str, Any], until: float) -> dict[str, Any]:
        """Ask the process that runs; one that ended because nobody asked is replaced once."""
        if self._child is not None:
            try:
                return self._exchange(self._child, request, until)
            except Severed:
                self._end()
        self._child = self._start()
        return self._exchange(self._child, request, until)

    def _exchange(self, child: _Child, request: dict[str, Any], until: float) -> dict[str, Any]:
        child.connection.settimeout(max(until - time.monotonic(), 0.001))
        send(child.connection, request)
        return receive(child.connection, deadline=until)

    def _start(self) -> _Child:
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "HOME") if name in os.environ}
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment | {"PYTHONPATH": _SOURCE},
                )
            except OSError:
                mine.close()
                raise
        return _Child(process, mine)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with suppress(OSError):
                child.end()

    def _remembered(self, key: str) -> bytes | ChartFailed | None:
        with self._cache_lock:
            if self._hung.get(key, 0) > time.monotonic():
                return ChartFailed("drawing it took too long a moment ago")
            self._hung.pop(key, None)
            image = self._cache.get(key)
            if image is not None:
                self._cache.move_to_end(key)
            return image

    def _remember(self, key: str, image: bytes) -> None:
        with self._cache_lock:
            self._cached_bytes += len(image) - len(self._cache.pop(key, b""))
            self._cache[key] = image
            while self._cached_bytes > CACHE_BYTES:
                self._cached_bytes -= len(self._cache.popitem(last=False)[1])


def _digest(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
