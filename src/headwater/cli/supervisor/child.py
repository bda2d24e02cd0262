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
        unshown: lines with this text are for the log file alone.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    grace_seconds: float = 20.0
    answers: bool = False
    unshown: str | None = None


@dataclass(frozen=True, slots=True)
class _Pipe:
    """A pipe: read here, written to by a child that inherits ``inlet``."""

    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport
    inlet: int

    @classmethod
    async def open(cls) -> _Pipe:
        """Return a new pipe."""
        loop = asyncio.get_running_loop()
        read_end, inlet = os.pipe()
        reader = asyncio.StreamReader(loop=loop)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader, loop=loop), os.fdopen(read_end, "rb", buffering=0)
        )
        return cls(reader, transport, inlet)


class Child:
    """A running process. It leads its own group, so that a Ctrl-C in the terminal reaches the supervisor alone."""

    def __init__(
        self,
        spec: ChildSpec,
        process: asyncio.subprocess.Process,
        stream: LogStream,
        output: _Pipe,
        answer: _Pipe | None,
    ) -> None:
        """Follow the output of ``process``."""
        self.spec = spec
        self.pid = process.pid
        self.identity = identity(process.pid)
        self.started_at = time.time()
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._process = process
        self._stream = stream
        self.answer = b""
        self._pipes = [pipe for pipe in (output, answer) if pipe is not None]
        self._pump = asyncio.gather(self._follow(output), self._keep(answer))

    @classmethod
    async def start(cls, spec: ChildSpec, stream: LogStream) -> Child:
        """Start it, tied to this process's life."""
        # Pipes of our own: asyncio's would hold back the news of its end until all that it started has ended too.
        output = await _Pipe.open()
        answer = await _Pipe.open() if spec.answers else None
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *spec.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=(answer or output).inlet,
                stderr=output.inlet,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.environment},
                cwd=spec.directory,
                start_new_session=True,
            )
        finally:
            for pipe in (output, answer):
                if pipe is not None:
                    os.close(pipe.inlet)
        return cls(spec, process, stream, output, answer)

    @property
    def returncode(self) -> int | None:
        """Return how it ended: the exit code, minus the signal's number, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end and its last output; return its exit code."""
        code = await self._process.wait()
        # Something it started may hold the pipe open for longer than anybody wants to wait.
        await asyncio.wait({self._pump}, timeout=_DRAIN_SECONDS)
        for pipe in self._pipes:
            pipe.transport.close()
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

    async def _follow(self, output: _Pipe) -> None:
        tail = b""
        while chunk := await output.reader.read(_CHUNK):
            *lines, tail = (tail + chunk).split(b"\n")
            if len(tail) > _CHUNK:
                lines, tail = [*lines, tail], b""
            for line in lines:
                self._line(line)
        if tail:
            self._line(tail)

    async def _keep(self, answer: _Pipe | None) -> None:
        if answer is not None:
            self.answer = await answer.reader.read()

    def _line(self, raw: bytes) -> None:
        text = raw.decode(errors="replace").rstrip("\r")
        self.last_lines.append(text)
        unshown = self.spec.unshown
        self._stream.line(self.spec.name, text, is_shown=unshown is None or unshown not in text)
