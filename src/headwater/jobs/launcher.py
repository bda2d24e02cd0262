"""Starting the processes that work off jobs, when there are any: what the worker asks every other second."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.queue import open_queue, queue_path

_STOP_SECONDS: Final = 10.0
_log = get_logger(__name__)


class JobLauncher:
    """Keeps as many processes at work as may be while jobs are due. Safe to call from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Launch for one home."""
        self._settings = settings
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []

    def tick(self) -> bool:
        """Start one more process if a job is due and there may be one more; return whether any runs now."""
        with self._lock:
            for process in [process for process in self._processes if process.poll() is not None]:
                self._forget(process)
            if len(self._processes) < self._settings.batch.jobs_at_once and self._has_work():
                self._start()
            return bool(self._processes)

    def close(self) -> None:
        """Have the processes put their jobs back, and wait for them."""
        with self._lock:
            for process in self._processes:
                process.terminate()
            ends_at = time.monotonic() + _STOP_SECONDS
            for process in list(self._processes):
                try:
                    process.wait(max(ends_at - time.monotonic(), 0.0))
                except subprocess.TimeoutExpired:
                    # What it was doing is done again: nothing of a chunk is written before all of it.
                    process.kill()
                    process.wait()
                self._forget(process)

    def _start(self) -> None:
        if not self._processes:
            self._sweep()
        environment = os.environ | self._settings.to_environment()
        # Its standard input tells it when this process ends, however it ends.
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater.jobs.runner"], stdin=subprocess.PIPE, env=environment
        )
        self._processes.append(process)
        _log.info("job_runner_started", pid=process.pid)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        self._processes.remove(process)

    def _has_work(self) -> bool:
        try:
            return self._is_due()
        except HeadwaterError as error:
            _log.warning("jobs_not_looked_at", error=error.detail, hint=error.hint)
            return False

    def _sweep(self) -> None:
        """Delete what processes that were killed had spilled; called while none runs."""
        for left in Home(self._settings.home).jobs.glob("spill-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _is_due(self) -> bool:
        if not queue_path(self._settings).exists():
            return False
        store = open_queue(self._settings)
        try:
            return store.is_due(time.time_ns() // 1_000)
        finally:
            store.close()
