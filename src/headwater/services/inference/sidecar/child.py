"""The sidecar's process and the socket to it: started, fed without ever waiting, and started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import headwater
from headwater.core.lean import FRUGAL
from headwater.core.logging import get_logger
from headwater.core.settings import PREFIX, Settings
from headwater.services.inference.sidecar.wire import Ack, AckReader
from headwater.services.kit.metrics import Tally

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_STEADY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_SOCKET_BYTES: Final = 1 << 20
_RECEIVE_BYTES: Final = 1 << 16
_SECTIONS: Final = ("JOURNAL", "ARTIFACTS", "LOG")

_log = get_logger(__name__)


class Child:
    """One sidecar at a time. Used from one event loop."""

    def __init__(self, settings: Settings, *, connected: Callable[[], None], heard: Callable[[Ack], None]) -> None:
        """Start nothing yet.

        Args:
            settings: the worker's own.
            connected: called with each new sidecar, which has been sent nothing.
            heard: called with each acknowledgement.
        """
        self._settings = settings
        self._on_connected = connected
        self._on_ack = heard
        self._socket: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._unsent: deque[memoryview] = deque()
        self._acks = AckReader()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._is_writing = False
        self._has_spoken = False
        self.had_spoken = False
        """Whether the sidecar before this one had begun its work."""
        self.starts = 0
        self.problem: str | None = None
        self.restarts = Tally("headwater_inference_sidecar_restarts", "Sidecars that were started again.", ())

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin to run a sidecar."""
        self._task = asyncio.create_task(self._run(), name="sidecar")

    def send(self, frames: Iterable[bytearray]) -> None:
        """Send frames as the socket takes them; without a sidecar, leave it to ``connected``."""
        if self._socket is not None:
            self._unsent.extend(memoryview(frame) for frame in frames)
            if not self._is_writing:
                self._write()

    async def stop(self) -> None:
        """Tell the sidecar that nothing more comes, and wait until it has ended."""
        self._is_stopping = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        if not done and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            done, _ = await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except OSError as error:
                self.problem = f"the sidecar cannot be started: {error}"
                _log.error("sidecar_not_started", error=str(error))
            finally:
                self._disconnect()
            if self._is_stopping:
                return
            self.restarts.add(())
            pause = _FIRST_PAUSE_SECONDS if time.monotonic() - began > _STEADY_SECONDS else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _live(self) -> None:
        """Run one sidecar from its start to its end."""
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # the folder that the worker runs in is no place for code
                    "-m",
                    "headwater.services.inference.sidecar",
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=self._environment(),
                    start_new_session=True,  # a Ctrl-C in the terminal is the worker's business
                )
        except BaseException:
            ours.close()
            raise
        self._process, self._socket = process, ours
        self.starts += 1
        self.had_spoken, self._has_spoken = self._has_spoken, False
        self.problem = None
        self._acks = AckReader()
        asyncio.get_running_loop().add_reader(ours, self._read)
        self._on_connected()
        if self._is_stopping:
            ours.shutdown(socket.SHUT_WR)
        code = await process.wait()
        if not self._is_stopping:
            self.problem = "the sidecar ended and is being started again"
            _log.warning("sidecar_ended", pid=process.pid, code=code)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
            acks = self._acks.feed(data)
        except BlockingIOError:
            return
        except Exception:  # noqa: BLE001 - a socket that broke, or says what cannot be understood
            data, acks = b"", []
        for ack in acks:
            self._has_spoken = True
            self._on_ack(ack)
        if not data:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._end()

    def _write(self) -> None:
        assert self._socket is not None
        unsent = self._unsent
        try:
            while unsent:
                sent = self._socket.send(unsent[0])
                if sent == len(unsent[0]):
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][sent:]
        except BlockingIOError:
            if not self._is_writing:
                self._is_writing = True
                asyncio.get_running_loop().add_writer(self._socket, self._write)
            return
        except OSError:
            unsent.clear()
            self._end()
        if self._is_writing:
            self._is_writing = False
            asyncio.get_running_loop().remove_writer(self._socket)

    def _end(self) -> None:
        """End a sidecar that has left the conversation, so that another takes its place; one that is leaving may."""
        if not self._is_stopping and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _disconnect(self) -> None:
        self._process = None
        self._unsent.clear()
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError):
                loop.remove_reader(self._socket)
                loop.remove_writer(self._socket)
            self._is_writing = False
            self._socket.close()
            self._socket = None

    def _environment(self) -> dict[str, str]:
        """Return what a sidecar inherits: where the code is, the settings it needs, and none of the secrets."""
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
        prefixes = tuple(f"{PREFIX}{section}__" for section in _SECTIONS)
        needed = {
            name: value
            for name, value in self._settings.to_environment().items()
            if name == f"{PREFIX}HOME" or name.startswith(prefixes)
        }
        source = str(Path(headwater.__file__).parents[1])
        own = {"PYTHONPATH": source, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
        return inherited | needed | FRUGAL | own
