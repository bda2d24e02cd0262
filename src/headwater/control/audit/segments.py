"""Segments of the audit log in the lake: Parquet that any engine reads, with its signed checkpoint beside it.

Below ``<lake>/_audit/<organisation>/`` a segment is named by its first and last event. One that was written and never
recorded, because its writer was killed, stays: it says the same as those that were.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headwater.control.audit.models import AuditEvent
from headwater.core.home import AUDIT_FOLDER
from headwater.core.ids import format_id

_COLUMNS: Final = tuple(field.attname for field in AuditEvent._meta.concrete_fields if field.attname != "id")


def folder_of(lake: Path, org_id: Any) -> Path:
    """Return where an organisation's segments lie."""
    return lake / AUDIT_FOLDER / format_id("org", org_id)


def write_segment(folder: Path, events: Sequence[AuditEvent]) -> str:
    """Write ``events`` as one durable Parquet file; return its sha256."""
    import pyarrow as pa  # noqa: PLC0415 - control itself needs no Arrow; the worker that exports does
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns: dict[str, list[Any]] = {name: [getattr(event, name) for event in events] for name in _COLUMNS}
    columns["org_id"] = [format_id("org", event.org_id) for event in events]
    columns["id"] = [event.public_id for event in events]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    _write(_segment(folder, events[0].n, events[-1].n), content)
    return hashlib.sha256(content).hexdigest()


def write_statement(folder: Path, first: int, last: int, statement: Mapping[str, Any]) -> None:
    """Put a signed checkpoint beside the segment of the events ``first`` to ``last``."""
    _write(_segment(folder, first, last).with_suffix(".json"), json.dumps(statement, indent=1, sort_keys=True).encode())


def read_statements(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the checkpoints that lie in the lake, oldest first; what cannot be read is yielded empty."""
    for path in sorted(folder.glob("*.json")):
        try:
            statement = json.loads(path.read_bytes())
        except (OSError, ValueError):
            statement = {}
        yield statement if isinstance(statement, dict) else {}


def segment_digest(folder: Path, first: int, last: int) -> str | None:
    """Return the sha256 of the segment of the events ``first`` to ``last``; None when it is not there."""
    try:
        with _segment(folder, first, last).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _segment(folder: Path, first: int, last: int) -> Path:
    return folder / f"{first:012d}-{last:012d}.parquet"


def _write(path: Path, content: bytes) -> None:
    """Write a file that is whole and on the disk for good once it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for directory in (path.parent, path.parent.parent):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
