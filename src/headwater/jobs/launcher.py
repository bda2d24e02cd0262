"""Starting the process that works off jobs, when there are any: what the worker asks every other second."""

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
    """Keeps one process at work while jobs are due. Safe to call from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Launch for one home."""
        self._settings = settings
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def tick(self) -> bool:
        """Start the process unless it runs or nothing is due; return whether it runs now."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return True
            self._forget()
            try:
                if not self._is_due():
                    return False
            except HeadwaterError as error:
                _log.warning("jobs_not_looked_at", error=error.detail, hint=error.hint)
                return False
            self._sweep()
            environment = os.environ | self._settings.to_environment()
            # Its standard input tells it when this process ends, however it ends.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headwater.jobs.runner"], stdin=subprocess.PIPE, env=environment
            )
            _log.info("job_runner_started", pid=self._process.pid)
            return True

    def close(self) -> None:
        """Have the process put its job back, and wait for it."""
        with self._lock:
            process = self._process
            if process is None:
                return
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # What it was doing is done again: nothing of a chunk is written before all of it.
                process.kill()
                process.wait()
            self._forget()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process = None

    def _sweep(self) -> None:
        """Delete what a process that was killed had spilled."""
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
