"""The job queue: work that outlives the request that asked for it, and the process that does it."""

from __future__ import annotations

from pathlib import Path

from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.engines.queue.protocol import JobStore


def queue_path(settings: Settings) -> Path:
    """Return the file of the embedded queue; it exists once there was a job."""
    return Home(settings.home).jobs / "jobs.sqlite3"


def open_queue(settings: Settings) -> JobStore:
    """Open the queue of a home, creating it if need be.

    Raises:
        HeadwaterError: ``home_version`` when a newer release wrote it, ``storage_exhausted``, ``services_unavailable``.
    """
    # Here and not above: the worker asks for the path every other second, and for nothing else.
    from headwater.engines.queue.sqlite import SqliteJobStore  # noqa: PLC0415

    return SqliteJobStore(queue_path(settings))
