"""One child process: how it is started, its output, and how it is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headwater.cli.supervisor import tether
from headwater.cli.supervisor.logs import LogStream
from headwater.cli.supervisor.processes import identity
from headwater.cli.supervisor.ready import Probe

_CHUNK: Final = 64 << 10
_LAST_LINES: Final = 15
_DRAIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run.

    Attributes:
        name: what it is called in the log.
        command: the program and its arguments.
        probe: tells when it is ready.
        environment: variables on top of the supervisor's own.
        directory: where it runs.
        grace_seconds: how long it may take to stop before it is killed.
        answers: its stdout is an answer to keep (``Child.answer``), not lines for the log.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    grace_seconds: float = 20.0
    answers: bool = False


class Child:
    """A running process. It leads its own group, so that a Ctrl-C in the terminal reaches the supervisor alone."""

    def __init__(self, spec: ChildSpec, process: asyncio.subprocess.Process, stream: LogStream) -> None:
        """Follow the output of ``process``."""
        self.spec = spec
        self.pid = process.pid
        self.identity = identity(process.pid)
        self.started_at = time.time()
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._process = process
        self._stream = stream
        self.answer = b""
        self._pump = asyncio.gather(self._follow(), self._keep_answer())

    @classmethod
    async def start(cls, spec: ChildSpec, stream: LogStream) -> Child:
        """Start it, tied to this process's life."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *spec.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if spec.answers else asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.environment},
            cwd=spec.directory,
            start_new_session=True,
        )
        return cls(spec, process, stream)

    @property
    def returncode(self) -> int | None:
        """Return how it ended: the exit code, minus the signal's number, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end and its last output; return its exit code."""
        code = await self._process.wait()
        # Something it started may hold the pipe open for longer than anybody wants to wait.
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._pump), _DRAIN_SECONDS)
        return code

    async def stop(self, hurry: asyncio.Event, *, hurried_grace_seconds: float = 3.0) -> None:
        """Ask it to stop; kill it and all it started when its grace is over, which ``hurry`` shortens."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
            ended = asyncio.create_task(self.wait())
            hurried = asyncio.create_task(hurry.wait())
            await asyncio.wait({ended, hurried}, timeout=self.spec.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and hurry.is_set():
                await asyncio.wait({ended}, timeout=hurried_grace_seconds)
            hurried.cancel()
            if not ended.done():
                self._stream.say(f"{self.spec.name} does not stop; killing it")
                self.signal(signal.SIGKILL)
                await ended
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Signal it and everything in its group that is still there."""
        with suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGTERM:
                # Its own children are its to stop, in its own order.
                os.kill(self.pid, number)
            else:
                os.killpg(self.pid, number)

    async def _follow(self) -> None:
        output = self._process.stderr if self.spec.answers else self._process.stdout
        assert output is not None
        tail = b""
        while chunk := await output.read(_CHUNK):
            *lines, tail = (tail + chunk).split(b"\n")
            if len(tail) > _CHUNK:
                lines, tail = [*lines, tail], b""
            for line in lines:
                self._line(line)
        if tail:
            self._line(tail)

    async def _keep_answer(self) -> None:
        if self.spec.answers and self._process.stdout is not None:
            self.answer = await self._process.stdout.read()

    def _line(self, raw: bytes) -> None:
        text = raw.decode(errors="replace").rstrip("\r")
        self.last_lines.append(text)
        self._stream.line(self.spec.name, text)
