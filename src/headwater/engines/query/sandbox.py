"""Ad-hoc SQL in worker processes: one environment a worker, a deadline that kills, and a fresh worker after a kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

import headwater
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.query.duck import lake_directory
from headwater.engines.query.frames import HEADER, MAX_PAYLOAD, Kind, pack
from headwater.engines.query.protocol import Column, TableSource
from headwater.engines.query.tables import plain_source

WORKERS: Final = 2
KILL_AFTER_SECONDS: Final = 1.0
_START_SECONDS: Final = 30.0
_RUNTIME_BYTES: Final = 1 << 30  # address space that Python, Arrow and DuckDB reserve but hardly use

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """Rows of an ad-hoc query, and whether there were more than were asked for."""

    columns: tuple[Column, ...]
    rows: pa.Table
    tables: tuple[str, ...]
    is_truncated: bool
    scanned_bytes: int = 0


class Sandbox:
    """Up to two workers, started when first needed. Used from one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet."""
        self._settings = settings
        self._idle: list[_Worker] = []
        self._slots = asyncio.Semaphore(WORKERS)
        self._workers: set[_Worker] = set()

    async def run(
        self,
        environment_id: str,
        sql: str,
        *,
        parameters: Mapping[str, Any],
        tables: Sequence[TableSource],
        max_rows: int,
        timeout_seconds: float,
        max_scanned_bytes: int = 0,
    ) -> SandboxResult:
        """Check and run ``sql`` over ``tables``, unless it would read more than ``max_scanned_bytes`` (0: whatever).

        Raises:
            HeadwaterError: ``sql_rejected``, ``sql_failed``, ``parameter_invalid``, ``result_too_large``,
                ``query_too_costly``, ``query_timeout``, or ``overloaded`` when no worker came free in time.
        """
        request = {
            "sql": sql,
            "parameters": dict(parameters),
            "tables": [plain_source(table) for table in tables],
            "max_rows": max_rows,
            "timeout_seconds": timeout_seconds,
            "max_scanned_bytes": max_scanned_bytes,
        }
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise HeadwaterError("overloaded", "every SQL worker is busy", retry_after_seconds=1) from None
        try:
            worker = await self._take(environment_id)
            try:
                return await worker.ask(request, timeout_seconds)
            finally:
                await self._give_back(worker)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """End every worker."""
        for worker in list(self._workers):
            await worker.kill()
        self._workers.clear()
        self._idle.clear()

    async def _take(self, environment_id: str) -> _Worker:
        self._workers -= {worker for worker in self._idle if not worker.is_alive}
        self._idle = [worker for worker in self._idle if worker.is_alive]
        for worker in self._idle:
            if worker.environment_id == environment_id:
                self._idle.remove(worker)
                return worker
        if len(self._workers) >= WORKERS and self._idle:
            gone = self._idle.pop(0)  # of another environment: it can never see this one
            self._workers.discard(gone)
            await gone.kill()
        query = self._settings.query
        worker = await _Worker.start(
            environment_id, lake_directory(self._settings, environment_id), query.sql_memory_bytes, query.threads
        )
        self._workers.add(worker)
        return worker

    async def _give_back(self, worker: _Worker) -> None:
        if worker.is_idle and worker.is_alive:
            self._idle.append(worker)
            return
        self._workers.discard(worker)
        await worker.kill()


class _Worker:
    """One worker process, bound to an environment for life."""

    def __init__(self, environment_id: str, process: asyncio.subprocess.Process) -> None:
        self.environment_id = environment_id
        self.is_idle = True
        self._process = process

    @classmethod
    async def start(cls, environment_id: str, directory: Path, memory_bytes: int, threads: int) -> _Worker:
        """Start a process and wait until it has confined itself."""
        began = time.monotonic()
        arguments = (str(directory), str(memory_bytes + _RUNTIME_BYTES), str(threads))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headwater.engines.query.sandbox_worker",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # a Ctrl-C in the terminal is the service's business
        )
        worker = cls(environment_id, process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                kind, payload = await worker._read()
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            await worker.kill()
            raise HeadwaterError("internal", "the SQL worker did not start") from error
        except asyncio.CancelledError:
            await worker.kill()  # nobody knows of it yet, so nobody else would end it
            raise
        assert kind is Kind.READY
        gap = orjson.loads(payload)["confinement_gap"]
        if gap:
            _log.warning("sql_worker_less_confined", reason=gap)
        _log.info("sql_worker_started", pid=process.pid, ms=round((time.monotonic() - began) * 1_000))
        return worker

    @property
    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.returncode is None

    async def ask(self, request: Mapping[str, Any], timeout_seconds: float) -> SandboxResult:
        """Send a request and return the answer; a worker that does not answer in time is killed."""
        self.is_idle = False
        try:
            async with asyncio.timeout(timeout_seconds + KILL_AFTER_SECONDS):
                result = await self._exchange(request)
        except TimeoutError:
            await self.kill()
            raise HeadwaterError(
                "query_timeout", "the query ran into its time limit", hint="ask for less, or add a filter"
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self.kill()
            _log.warning("sql_worker_ended", code=self._process.returncode)
            raise HeadwaterError(
                "sql_failed", "the query used more than it may and its worker was ended", hint="ask for less"
            ) from error
        except HeadwaterError:
            self.is_idle = True
            raise
        self.is_idle = True
        return result

    async def kill(self) -> None:
        """End the process at once and wait until it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()

    async def _exchange(self, request: Mapping[str, Any]) -> SandboxResult:
        assert self._process.stdin is not None
        self._process.stdin.write(pack(Kind.REQUEST, orjson.dumps(request)))
        await self._process.stdin.drain()
        parts: list[bytes] = []
        while True:
            kind, payload = await self._read()
            if kind is Kind.ROWS:
                parts.append(payload)
                continue
            document = orjson.loads(payload)
            if kind is Kind.ERROR:
                raise HeadwaterError(
                    document["code"], document["detail"], hint=document["hint"], extra=document["extra"]
                )
            table = pa.ipc.open_stream(pa.py_buffer(b"".join(parts))).read_all()
            columns = tuple(Column(name, type_) for name, type_ in document["columns"])
            return SandboxResult(columns, table, tuple(document["tables"]), document["truncated"], document["scanned"])

    async def _read(self) -> tuple[Kind, bytes]:
        assert self._process.stdout is not None
        kind, length = HEADER.unpack(await self._process.stdout.readexactly(HEADER.size))
        if length > MAX_PAYLOAD:
            raise ConnectionError("a frame is too long")
        return Kind(kind), await self._process.stdout.readexactly(length)


def _environment() -> dict[str, str]:
    """Return what a worker inherits: where to find the code, and none of the service's secrets."""
    source = str(Path(headwater.__file__).parents[1])
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return inherited | {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}
