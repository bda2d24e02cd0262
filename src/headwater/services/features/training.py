"""Training frames over HTTP: joined in a thread, within the memory and the time of an ad-hoc query."""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.csv as pacsv

from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, FeatureViewSpec
from headwater.core.streams import stream_name
from headwater.engines.features.history import History, Sources
from headwater.engines.features.labels import read_labels, with_instants
from headwater.engines.features.lake import dataset_rows, open_duckdb
from headwater.engines.lake.protocol import TableStore
from headwater.services.kit.threads import Threads

MEDIA_TYPES: Final = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "arrow": "application/vnd.apache.arrow.stream",
}
TIMEOUT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: the labels as they came, and how the frame shall go back."""

    body: bytes
    media_type: str
    time: str | None
    format: str


class Trainer:
    """Makes training frames, one at a time; a few requests may wait."""

    def __init__(self, settings: Settings, lake: TableStore, spill: Path) -> None:
        """Join with rows of ``lake``; ``spill`` is the folder for what memory does not hold."""
        self._settings = settings.query
        self._lake = lake
        self._spill = spill
        self._threads = Threads("feature-history", workers=1, waiting=4)

    async def frame(self, environment_id: str, view: FeatureViewSpec, dataset: DatasetSpec, request: Request) -> bytes:
        """Return the frame in the format that was asked for.

        Raises:
            HeadwaterError: whatever is wrong with the labels, ``query_timeout``, ``overloaded``, or ``sql_failed`` when
                memory and disk do not suffice.
        """
        running = _Running()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._threads.run(lambda: self._join(environment_id, view, dataset, request, running))
        except TimeoutError as error:
            running.stop()
            raise HeadwaterError(
                "query_timeout", f"the frame took longer than {TIMEOUT_SECONDS:g} s", hint="send fewer labels"
            ) from error
        except asyncio.CancelledError:
            running.stop()
            raise

    def close(self) -> None:
        """Let go of what waits."""
        self._threads.close()

    def _join(
        self, environment_id: str, view: FeatureViewSpec, dataset: DatasetSpec, request: Request, running: _Running
    ) -> bytes:
        labels, time = read_labels(request.body, request.media_type, request.time)
        state = self._lake.state(stream_name(environment_id, view.dataset))
        self._spill.mkdir(parents=True, exist_ok=True, mode=0o700)
        spill = tempfile.mkdtemp(dir=self._spill)
        connection = open_duckdb(
            threads=self._settings.threads, memory_bytes=self._settings.memory_limit_bytes, spill=spill
        )
        try:
            running.start(connection)
            name = with_instants(connection, labels, time)
            sources = Sources(name, time, dataset_rows(dataset, state), 0 if state is None else state.rows)
            return _WRITERS[request.format](History(connection, view).join(sources))
        except duckdb.InterruptException as error:
            raise HeadwaterError("query_timeout", "the frame was given up") from error
        except duckdb.Error as error:
            raise HeadwaterError(
                "sql_failed", f"the frame could not be made: {str(error)[:300]}", hint="send fewer labels at a time"
            ) from error
        finally:
            running.end()
            connection.close()
            shutil.rmtree(spill, ignore_errors=True)


class _Running:
    """A join under way, to be stopped from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_stopped = False

    def start(self, connection: duckdb.DuckDBPyConnection) -> None:
        with self._lock:
            if self._is_stopped:
                raise HeadwaterError("query_timeout", "nobody waits for the frame any more")
            self._connection = connection

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            if self._connection is not None:
                self._connection.interrupt()

    def end(self) -> None:
        with self._lock:
            self._connection = None


def _to_json(batches: Iterable[pa.RecordBatch]) -> bytes:
    parts: list[bytes] = []
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        if batch.num_rows:
            parts.append(orjson.dumps(batch.to_pylist(), default=str, option=orjson.OPT_UTC_Z)[1:-1])
    return b'{"meta":{"rows":%d},"data":[%b]}' % (rows, b",".join(parts))


def _write(batches: Iterable[pa.RecordBatch], make: Callable[[io.BytesIO, pa.Schema], Any]) -> bytes:
    sink, writer = io.BytesIO(), None
    for batch in batches:
        writer = writer or make(sink, batch.schema)
        writer.write(batch)
    if writer is not None:
        writer.close()
    return sink.getvalue()


_WRITERS: Final[dict[str, Callable[[Iterable[pa.RecordBatch]], bytes]]] = {
    "json": _to_json,
    "csv": lambda batches: _write(batches, pacsv.CSVWriter),
    "arrow": lambda batches: _write(batches, pa.ipc.new_stream),
}
