"""The worker that runs ad-hoc SQL: ``python -m headwater.engines.query.sandbox_worker <directory> <bytes> <threads>``.

It confines itself before it reads the first request: it can read the tables of one environment and nothing else, write
nothing, and use no more memory than it was given. Hostile SQL is parsed, walked and run here, never in the service.
"""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, Final

import duckdb
import orjson
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.engines.query import confinement
from headwater.engines.query.cost import ParquetSizes
from headwater.engines.query.failures import explain_failure
from headwater.engines.query.frames import Kind, pack, read_frame
from headwater.engines.query.instance import DuckInstance, DuckLimits, DuckReading
from headwater.engines.query.tables import read_source
from headwater.engines.query.walk import check_query

BATCH_ROWS: Final = 2_048
MAX_RESULT_BYTES: Final = 32 << 20
_AGAIN_SECONDS: Final = 0.1
_SIZES: Final = ParquetSizes()
_DUCKDB_SHARE: Final = 2  # DuckDB gets this part of the address space; Python and Arrow need the rest


def main() -> None:
    """Serve requests from standard input until it ends."""
    directory, memory_bytes, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    confinement.die_with_parent()
    confinement.limit_process(memory_bytes)
    with DuckInstance(directory, DuckLimits(memory_bytes // _DUCKDB_SHARE, threads)) as instance:
        _warm_up(instance)
        watchdog = Watchdog()
        watchdog.start()
        gap = confinement.restrict_files([directory])
        confinement.forbid_processes()
        _send(sink, Kind.READY, {"confinement_gap": gap})
        while (frame := read_frame(source)) is not None:
            _answer(instance, watchdog, orjson.loads(frame[1]), sink)


class Watchdog(threading.Thread):
    """Interrupts a reading when its time is up. One thread for all requests: no other can be started once confined."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        super().__init__(name="watchdog", daemon=True)
        self._changed = threading.Condition()
        self._reading: DuckReading | None = None
        self._seconds: float | None = None

    def watch(self, reading: DuckReading | None, seconds: float | None = None) -> None:
        """Give ``reading`` so many seconds from now; None watches nothing."""
        with self._changed:
            self._reading, self._seconds = reading, seconds
            self._changed.notify()

    def run(self) -> None:
        """Wait for a reading, then for its time; interrupt until it is taken away."""
        with self._changed:
            while True:
                reading, seconds = self._reading, self._seconds
                if self._changed.wait(seconds) or reading is None:
                    continue
                reading.interrupt()
                if self._reading is reading:
                    self._seconds = _AGAIN_SECONDS


def _warm_up(instance: DuckInstance) -> None:
    """Load what is loaded on first use, while files outside the lake can still be read."""
    query = check_query(
        "SELECT now() AT TIME ZONE 'UTC' AS at, to_json([1]) AS j, i FROM range(100000) r(i)", tables=()
    )
    with instance.start(query, {}, {}, batch_rows=BATCH_ROWS) as reading:
        sum(batch.num_rows for batch in reading.batches())


def _answer(instance: DuckInstance, watchdog: Watchdog, request: dict[str, Any], sink: BinaryIO) -> None:
    try:
        done = _run(instance, watchdog, request, sink)
    except HeadwaterError as error:
        _send(sink, Kind.ERROR, {"code": error.code, "detail": error.detail, "hint": error.hint, "extra": error.extra})
    except (duckdb.Error, pa.ArrowException, MemoryError, OSError) as error:
        known = explain_failure(error)
        _send(sink, Kind.ERROR, {"code": known.code, "detail": known.detail, "hint": known.hint, "extra": {}})
    else:
        _send(sink, Kind.DONE, done)


def _run(instance: DuckInstance, watchdog: Watchdog, request: dict[str, Any], sink: BinaryIO) -> dict[str, Any]:
    sources = {plain["name"]: read_source(plain) for plain in request["tables"]}
    query = check_query(request["sql"], tables=sources.keys())
    parameters: dict[str, Any] = request["parameters"]
    _match(query.parameters, parameters)
    scanned = _SIZES.scanned(query, sources)
    most: int = request["max_scanned_bytes"]
    if most and scanned > most:
        raise HeadwaterError(
            "query_too_costly",
            f"the query would read about {scanned} bytes of tables, and at most {most} are allowed",
            hint="name fewer columns, or ask an endpoint for it",
            extra={"scanned_bytes": scanned, "max_scanned_bytes": most},
        )
    with instance.start(query, parameters, sources, batch_rows=BATCH_ROWS) as reading:
        watchdog.watch(reading, request["timeout_seconds"])
        try:
            is_truncated = _write_rows(reading, request["max_rows"], sink)
        finally:
            watchdog.watch(None)
        columns = [[column.name, column.type] for column in reading.columns]
    return {"columns": columns, "tables": list(query.tables), "truncated": is_truncated, "scanned": scanned}


def _write_rows(reading: DuckReading, max_rows: int, sink: BinaryIO) -> bool:
    """Write an Arrow IPC stream of at most ``max_rows`` rows, a frame a batch; return whether there were more."""
    piece = io.BytesIO()
    rows = size = 0
    is_truncated = False
    with pa.ipc.new_stream(piece, reading.schema) as writer:
        for batch in reading.batches():
            kept = batch.slice(0, max_rows - rows)
            rows += kept.num_rows
            size += kept.nbytes
            if size > MAX_RESULT_BYTES:
                raise HeadwaterError(
                    "result_too_large", f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB", hint="ask for less"
                )
            if kept.num_rows:
                writer.write_batch(kept)
                _write_piece(piece, sink)
            if kept.num_rows < batch.num_rows:
                is_truncated = True
                break
    _write_piece(piece, sink)
    return is_truncated


def _write_piece(piece: io.BytesIO, sink: BinaryIO) -> None:
    """Send what was written since the last time."""
    sink.write(pack(Kind.ROWS, piece.getvalue()))
    piece.seek(0)
    piece.truncate()


def _match(wanted: tuple[str, ...], given: dict[str, Any]) -> None:
    faults = [{"parameter": name, "message": "is required by the SQL"} for name in wanted if name not in given]
    faults += [{"parameter": name[:64], "message": "does not occur in the SQL"} for name in given if name not in wanted]
    faults += [
        {"parameter": name[:64], "message": "must be text, a number, true, false or null"}
        for name, value in given.items()
        if not isinstance(value, str | int | float | None)
    ]
    if faults:
        detail = "; ".join(f"{fault['parameter']} {fault['message']}" for fault in faults[:5])
        raise HeadwaterError("parameter_invalid", detail, extra={"errors": faults})


def _send(sink: BinaryIO, kind: Kind, document: dict[str, Any]) -> None:
    sink.write(pack(kind, orjson.dumps(document)))
    sink.flush()


if __name__ == "__main__":
    main()
