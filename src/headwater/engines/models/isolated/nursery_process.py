"""The process that forks workers: ``python -m headwater.engines.models.isolated.nursery_process <framework> <fd>``.

It has one thread and runs nobody's code but the framework's import, so a fork of it is sound and takes milliseconds.
On its socket it is told to start a worker (with the worker's socket and the pipe for what it prints) or to end one.
When the socket closes, however the service ended, it ends its workers and itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.abc
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final, NoReturn

from headwater.engines.models.isolated import worker
from headwater.engines.query import confinement

MESSAGE: Final = struct.Struct("<cq")
"""To the nursery: what to do, with which process. From it: ``=`` and a number, or ``!`` and the length of a text."""
START: Final = b"S"
END: Final = b"E"
KILL: Final = b"K"
"""As ``END``, for a worker that would not end by itself."""
DONE: Final = b"="
REFUSED: Final = b"!"
UNKNOWN_STATUS: Final = -1
_GRACE_SECONDS: Final = 0.1
_STEP_SECONDS: Final = 0.002
_DESCRIPTORS: Final = 2
_FOR_PEOPLE: Final = ("matplotlib", "rich", "pytest", "charset_normalizer")
#: What these frameworks would import if it were there, takes a second and a hundred megabytes, and has no use for.
_SPARED: Final = {
    "sklearn": ("pandas", "pyarrow", "polars", *_FOR_PEOPLE),
    "lightgbm": ("pandas", "pyarrow", "sklearn", "dask", *_FOR_PEOPLE),
    "xgboost": ("pandas", "pyarrow", "sklearn", "dask", *_FOR_PEOPLE),
}
#: A framework by this name is loaded with all that it would import.
WITH_FRAMES: Final = "+frames"


class _Spared(importlib.abc.MetaPathFinder):
    """Lets imports of some packages fail as if they were not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"{fullname} is not loaded here", name=fullname)
        return None


def main() -> None:
    """Load the framework, then start and end workers until the socket closes."""
    name, control = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    framework = name.removesuffix(WITH_FRAMES)
    if not name.endswith(WITH_FRAMES):
        sys.meta_path.insert(0, _Spared(_SPARED.get(framework, ())))
    try:
        worker.load_library(framework)
    except Exception as error:  # noqa: BLE001 - a library that is broken or not there is the service's to tell
        _refuse(control, f"{type(error).__name__}: {error}")
        return
    # What is loaded now is never collected, so that the workers do not copy its pages by looking at them.
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="headwater-models-", ignore_cleanup_errors=True) as scratch:
        control.sendall(MESSAGE.pack(DONE, os.getpid()))
        _Nursery(control, Path(scratch)).run()


class _Nursery:
    """The workers that live, each with a directory of its own to write to."""

    def __init__(self, control: socket.socket, scratch: Path) -> None:
        self._control = control
        self._scratch = scratch
        self._workers: dict[int, Path] = {}
        self._started = 0

    def run(self) -> None:
        """Obey until the socket closes."""
        while True:
            data, descriptors, _flags, _address = socket.recv_fds(self._control, MESSAGE.size, _DESCRIPTORS)
            if not data:
                break
            order, process = MESSAGE.unpack(data)
            if order == START:
                answer = self._start(descriptors)
            else:
                answer = self._end(process, 0 if order == KILL else _GRACE_SECONDS)
            self._control.sendall(MESSAGE.pack(DONE, answer))
        for process in list(self._workers):
            self._end(process, 0)

    def _start(self, descriptors: Sequence[int]) -> int:
        connection, output = descriptors
        self._started += 1
        directory = self._scratch / str(self._started)
        directory.mkdir(mode=0o700)
        parent = os.getpid()
        process = os.fork()
        if process == 0:
            self._become_worker(connection, output, directory, parent)
        os.close(connection)
        os.close(output)
        self._workers[process] = directory
        return process

    def _become_worker(self, connection: int, output: int, directory: Path, parent: int) -> NoReturn:
        status = 1
        try:
            confinement.die_with_parent()
            if os.getppid() != parent:
                os._exit(0)
            os.setpgid(0, 0)
            self._control.close()
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            os.chdir(directory)
            os.environ["TMPDIR"] = os.environ["HOME"] = tempfile.tempdir = str(directory)
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
            worker.serve(socket.socket(fileno=connection))
            status = 0
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _end(self, process: int, grace_seconds: float) -> int:
        """Return how a worker ended, by itself or because it was made to now; what it started ends with it."""
        directory = self._workers.pop(process, None)
        if directory is None:
            return UNKNOWN_STATUS
        _wait(process, grace_seconds)
        # Not reaped yet, so the number still means this process and its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        shutil.rmtree(directory, ignore_errors=True)
        return os.waitstatus_to_exitcode(status)


def _wait(process: int, seconds: float) -> None:
    """Wait so long for a process to end by itself, and leave it to be reaped."""
    deadline = time.monotonic() + seconds
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < deadline:
        time.sleep(_STEP_SECONDS)


def _refuse(control: socket.socket, text: str) -> None:
    data = text.encode()[:4_096]
    control.sendall(MESSAGE.pack(REFUSED, len(data)) + data)


if __name__ == "__main__":
    main()
