"""Has files built, one at a time, by a process of its own that costs the others little."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

import headwater
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.lake.protocol import TableState
from headwater.engines.query.accelerator.build import BUSY, Order
from headwater.engines.query.accelerator.demand import Asked
from headwater.engines.query.accelerator.files import Shelf
from headwater.engines.query.accelerator.instance import size_of
from headwater.engines.query.tables import duckdb_columns

GIVE_UP_SECONDS: Final = 1_800.0
_REST_FACTOR: Final = 10.0
_LEAST_REST_SECONDS: Final = 10.0
_FIRST_BACKOFF_SECONDS: Final = 60.0
_LONGEST_BACKOFF_SECONDS: Final = 3_600.0
_GROWTH: Final = 4
"""A file has at most about this many times the bytes of its Parquet; sorting may need as much again."""
_SORTABLE: Final = ("BIGINT", "INTEGER", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP", "DECIMAL", "BOOLEAN", "UUID", "TIME")

Table = tuple[str, str]
_log = get_logger(__name__)


class Builder:
    """Builds that are due, failures remembered with a growing pause. Used by one thread."""

    def __init__(self, settings: Settings, shelf: Shelf, count: Callable[[str], None]) -> None:
        """Build into ``shelf``; ``count`` is told what came of each build."""
        self._query = settings.query
        self._lake = settings.lake_folder
        self._shelf = shelf
        self._count = count
        self._not_before: dict[Table, float] = {}
        self._failures: dict[Table, tuple[int, str]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False
        self._lock = threading.Lock()

    def problems(self) -> list[str]:
        """Return why tables have no file, one sentence each."""
        return [
            f"the accelerator has no file of {environment_id}/{table}, so queries read Parquet: {reason}"
            for (environment_id, table), (_, reason) in list(self._failures.items())
        ]

    def stop(self) -> None:
        """End a build under way, and begin no other."""
        with self._lock:
            self._is_stopping = True
            if self._process is not None:
                self._process.kill()

    def build(self, environment_id: str, table: str, state: TableState, asked: Asked) -> None:
        """Build a file of ``state``, unless the last one is too recent; waits for it."""
        place = (environment_id, table)
        if time.monotonic() < self._not_before.get(place, 0.0):
            return
        began = time.monotonic()
        error = self._no_room(state) or self._run(self._order(environment_id, table, state, asked))
        took = time.monotonic() - began
        if error is None:
            self._failures.pop(place, None)
            self._not_before[place] = time.monotonic() + max(_LEAST_REST_SECONDS, took * _REST_FACTOR)
            self._count("built")
            self._shelf.make_room(self._query.accelerator_bytes)
            return
        times = self._failures.get(place, (0, ""))[0] + 1
        self._failures[place] = (times, error)
        pause = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** (times - 1))
        self._not_before[place] = time.monotonic() + pause
        self._count("build_failed")
        _log.warning("accelerator_build_failed", table=table, error=error, again_in_seconds=round(pause))

    def _no_room(self, state: TableState) -> str | None:
        """Return why a file of ``state`` may not be begun; None when it may."""
        size = size_of(frozenset(state.files))
        budget = self._query.accelerator_bytes
        if size > budget:
            return f"its Parquet has {size} bytes, more than query.accelerator_bytes ({budget})"
        self._shelf.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = os.statvfs(self._shelf.root)
        free = status.f_bavail * status.f_frsize
        if free < size * _GROWTH + self._query.accelerator_min_free_bytes:
            return f"the disk has {free} bytes left, which is too few to build it"
        return None

    def _order(self, environment_id: str, table: str, state: TableState, asked: Asked) -> Order:
        columns = duckdb_columns(state.schema)
        sortable = {name for name, type_ in columns if type_.startswith(_SORTABLE) and not type_.endswith("]")}
        by_use = [name for name, _ in asked.lookups.most_common(1)]
        by = dict.fromkeys((*by_use, *asked.source.key, "_hw_seq"))
        return Order(
            folder=str(self._shelf.folder(environment_id, table)),
            lake=str(self._lake / environment_id),
            files=state.files,
            columns=columns,
            sorted_by=tuple(name for name in by if name in sortable),
            rows=state.rows,
            memory_bytes=self._query.accelerator_memory_bytes,
            max_bytes=self._query.accelerator_bytes,
        )

    def _run(self, order: Order) -> str | None:
        """Run the process; return what went wrong, None when the file is there."""
        with self._lock:
            if self._is_stopping:
                return "the process is stopping"
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "headwater.engines.query.accelerator.build"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        try:
            said, _ = process.communicate(orjson.dumps(order), timeout=GIVE_UP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"it took longer than {GIVE_UP_SECONDS:g} s"
        finally:
            self._process = None
        if process.returncode in (0, BUSY):
            return None
        return _reason(said) or f"its process ended with {process.returncode}"


def _reason(said: bytes) -> str | None:
    try:
        document: dict[str, Any] = orjson.loads(said)
    except orjson.JSONDecodeError:
        return None
    return document.get("error")


def _environment() -> dict[str, str]:
    """Return what a build inherits: where to find the code, and none of the service's secrets."""
    source = str(Path(headwater.__file__).parents[1])
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return inherited | {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}
