"""Nurseries as the service sees them: one process for each framework in use, shared by all its versions."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import headwater
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.engines.models.isolated.nursery_process import DONE, END, KILL, MESSAGE, START, UNKNOWN_STATUS
from headwater.engines.models.isolated.printed import follow_output

_START_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 10.0
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ")
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Child:
    """A worker process: its number, the service's end of its socket, and the nursery that it came from."""

    process: int
    connection: socket.socket
    nursery: Nursery


class Nursery:
    """A process of a framework. All methods block; they are called from threads, one at a time."""

    def __init__(self, framework: str) -> None:
        """Start it, and wait until it has loaded the framework.

        Raises:
            HeadwaterError: ``model_unavailable`` when the framework cannot be imported.
        """
        self.framework = framework
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        output, printed = os.pipe()
        began = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "headwater.engines.models.isolated.nursery_process"),
                    *(framework, str(theirs.fileno())),
                ],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=[theirs.fileno()],
                cwd="/",
                start_new_session=True,  # a Ctrl-C in the terminal is the service's business
            )
        except BaseException:
            os.close(output)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(printed)
        follow_output(output, nursery=framework)
        self._control = ours
        self._await_library()
        _log.info(
            "model_nursery_started",
            framework=framework,
            pid=self._process.pid,
            ms=round((time.monotonic() - began) * 1_000),
        )

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def start(self, **labels: str | int) -> Child:
        """Fork a worker; what it prints is logged with ``labels``. Raises ``OSError`` when the nursery is gone."""
        ours, theirs = socket.socketpair()
        output, printed = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [MESSAGE.pack(START, 0)], [theirs.fileno(), printed])
                process = self._answer()
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(printed)
        follow_output(output, **labels)
        return Child(process, ours, self)

    def end(self, process: int, *, kill: bool = False) -> int:
        """Make sure that a worker has ended, at once if ``kill``; return how: as ``returncode`` of ``subprocess``."""
        try:
            with self._lock:
                self._control.sendall(MESSAGE.pack(KILL if kill else END, process))
                return self._answer()
        except OSError:
            return UNKNOWN_STATUS  # the nursery is gone, and its workers with it

    def close(self) -> None:
        """End it, and with it every worker that is left."""
        self._control.close()
        try:
            self._process.wait(_ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> int:
        data = b""
        while len(data) < MESSAGE.size:
            piece = self._control.recv(MESSAGE.size - len(data))
            if not piece:
                raise ConnectionError("the nursery ended")
            data += piece
        kind, number = MESSAGE.unpack(data)
        if kind == DONE:
            return int(number)
        raise _Refused(self._control.recv(number).decode(errors="replace"))

    def _await_library(self) -> None:
        self._control.settimeout(_START_SECONDS)
        try:
            self._answer()
        except _Refused as refused:
            self.close()
            framework = self.framework.partition("+")[0]
            raise HeadwaterError(
                "model_unavailable",
                f"{framework} cannot be imported: {refused}",
                hint=f"install headwater[{framework}]" + _LIBRARY_HINTS.get(framework, ""),
            ) from refused
        except OSError as error:
            self._process.kill()
            self.close()
            raise HeadwaterError(
                "model_unavailable",
                f"the process that runs {self.framework} models did not start",
                hint="the log has what it printed",
                retry_after_seconds=5,
            ) from error
        self._control.settimeout(_ANSWER_SECONDS)


class _Refused(Exception):
    """The nursery cannot load its framework."""


_LIBRARY_HINTS: Final = {"lightgbm": ", and the system's libgomp1"}


class Nurseries:
    """The nurseries of this process by framework, each started when first needed and ended with its last user."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._starting: dict[str, threading.Lock] = {}
        self._running: dict[str, Nursery] = {}
        self._users: dict[str, int] = {}

    def enter(self, framework: str) -> None:
        """Count one more user of a framework."""
        with self._lock:
            self._users[framework] = self._users.get(framework, 0) + 1

    def leave(self, framework: str) -> None:
        """Count one user less; the last one ends the nursery."""
        with self._lock:
            self._users[framework] -= 1
            nursery = self._running.pop(framework, None) if not self._users[framework] else None
        if nursery is not None:
            nursery.close()

    def start(self, framework: str, **labels: str | int) -> Child:
        """Fork a worker; a nursery that died is replaced. Raises ``HeadwaterError`` when there can be none."""
        with self._starting.setdefault(framework, threading.Lock()):
            nursery = self._running.get(framework)
            if nursery is not None:
                try:
                    return nursery.start(**labels)
                except (OSError, _Refused):
                    _log.warning("model_nursery_ended", framework=framework, pid=nursery.pid)
                    nursery.close()
                    del self._running[framework]
            nursery = self._running[framework] = Nursery(framework)
            return nursery.start(**labels)


NURSERIES: Final = Nurseries()


def describe_exit(status: int) -> str:
    """Return how a process ended, for people."""
    if status == UNKNOWN_STATUS:
        return "it was ended together with the process that keeps it"
    if status >= 0:
        return f"it exited with status {status}"
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was ended by signal {-status}"


def _environment() -> dict[str, str]:
    """Return what a nursery inherits: where to find the code, and none of the service's secrets."""
    source = str(Path(headwater.__file__).parents[1])
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    own = {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}
    return inherited | own | dict.fromkeys(_ONE_THREAD, "1")
