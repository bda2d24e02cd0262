"""The worker process: Celery's worker and its beat, for work that waits in the outbox or on the clock."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Final

from celery import Celery, signals
from celery.beat import Service
from celery.exceptions import SecurityWarning

from headwater.control import configuration
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.jobs.launcher import JobLauncher
from headwater.jobs.skew_schedule import schedule_checks

#: Short tasks mostly; two, so that a nightly one does not hold up the outbox. Threads share one Django's memory.
_THREADS: Final = 2
_HEARTBEAT_SECONDS: Final = 1.0
_LAUNCH_SECONDS: Final = 2.0
_log = get_logger(__name__)


def serve(settings: Settings) -> None:
    """Run tasks until SIGTERM or SIGINT, then finish those that run and return."""
    configuration.use(settings)
    # Control checks itself when it starts; here the checks would load its pages and the engines behind them (150 MB).
    os.environ["CELERY_SKIP_CHECKS"] = "1"
    # Imported here: the module sets Django up with the settings given above.
    from headwater.control.celery import app  # noqa: PLC0415

    _quieten()
    heartbeat = _Heartbeat(Home(settings.home).run / "worker.json")
    launcher = _compose(app, settings)
    beat = _Beat(app)
    worker = app.Worker(
        hostname=f"headwater@{socket.gethostname()}",
        pool="threads",
        concurrency=_THREADS,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )

    @signals.worker_ready.connect(weak=False)
    def begin(**_: Any) -> None:
        heartbeat.beat()
        beat.start()
        _log.info("worker_ready", broker=app.connection().as_uri())

    @signals.task_postrun.connect(weak=False)
    def note(**_: Any) -> None:
        heartbeat.beat()

    try:
        worker.start()
    finally:
        beat.stop()
        launcher.close()
    _log.info("worker_stopped")


def _compose(app: Celery, settings: Settings) -> JobLauncher:
    """Give the application what control may not know: the task that has the data plane's jobs worked off.

    The task itself is short: jobs run in a process of their own, which neither Django's memory nor Celery's threads
    share, and which a model may take down.
    """
    launcher = JobLauncher(settings)

    @app.task(name="jobs.launch")
    def launch() -> bool:
        return launcher.tick()

    @app.task(name="jobs.check_skew")
    def check_skew() -> int:
        return schedule_checks(settings)

    app.conf.beat_schedule["check-skew"] = {"task": "jobs.check_skew", "schedule": 3_600.0, "options": {"expires": 600}}
    entry = {"task": "jobs.launch", "schedule": _LAUNCH_SECONDS, "options": {"expires": _LAUNCH_SECONDS}}
    app.conf.beat_schedule["launch-jobs"] = entry
    return launcher


def _quieten() -> None:
    """Leave out what Celery says every two seconds, and its warning about root: no pickle is ever read."""
    logging.getLogger("celery").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=SecurityWarning)


class _Heartbeat:
    """A file that is fresh as long as beat, broker and worker all do their part."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = 0.0

    def beat(self) -> None:
        """Write the file, at most once a second."""
        if time.monotonic() - self._last < _HEARTBEAT_SECONDS:
            return
        self._last = time.monotonic()
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"pid": os.getpid(), "at": time.time()}), encoding="ascii")
        temporary.replace(self._path)


class _Beat(threading.Thread):
    """The schedule's clock. When it breaks the process ends, so that it is started anew rather than runs without."""

    def __init__(self, app: Celery) -> None:
        super().__init__(name="beat", daemon=True)
        # The interval is how quickly it can be stopped.
        self._service = Service(app, max_interval=1)

    def run(self) -> None:
        """Send what is due until stopped."""
        try:
            self._service.start()
        except Exception:  # noqa: BLE001 - whatever broke it, the process must not go on without
            _log.exception("beat_failed")
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(self) -> None:
        """Stop and save the schedule."""
        if self.is_alive():
            self._service.stop(wait=True)
