"""Builds one file of the accelerator: ``python -m headwater.engines.query.accelerator.build``, an order on its input.

It runs beside the service at the lowest priority, with a bound on memory and on what it may write. The file appears
under its name only once it is complete, checked and on the disk; whatever ends this process before leaves nothing that
anybody would read.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson

from headwater.engines.query import confinement
from headwater.engines.query.accelerator.files import BUILDING, SUFFIX, TABLE, Manifest, holding, read_manifest, remove
from headwater.engines.query.quoting import quote

BUSY: Final = 3
_VECTOR: Final = 2_048
_LEAST_GROUP: Final = 8 * _VECTOR
_LARGEST_GROUP: Final = 60 * _VECTOR
_LEAST_PRIORITY: Final = 19


@dataclass(frozen=True, slots=True)
class Order:
    """What to build: the rows of ``files``, sorted, into ``folder``."""

    folder: str
    lake: str
    files: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    sorted_by: tuple[str, ...]
    rows: int
    memory_bytes: int
    max_bytes: int

    def manifest(self, rows: int) -> Manifest:
        """Return what the file will say of itself."""
        return Manifest(self.files, self.columns, self.sorted_by, rows, duckdb.__version__)


def main() -> int:
    """Build what standard input orders; print one line of JSON: the path, or the error."""
    order = read_order(sys.stdin.buffer.read())
    confinement.die_with_parent()
    with contextlib.suppress(OSError):
        os.nice(_LEAST_PRIORITY)
    resource.setrlimit(resource.RLIMIT_FSIZE, (order.max_bytes, order.max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with holding(Path(order.folder) / "lock") as is_held:
        if not is_held:
            return BUSY
        try:
            path = build(order)
        except (duckdb.Error, OSError, ValueError) as error:
            _say({"error": str(error).split("\n", 1)[0][:300]})
            return 1
    _say({"path": str(path)})
    return 0


def read_order(content: bytes) -> Order:
    """Return the order that was written as JSON."""
    members: dict[str, Any] = orjson.loads(content)
    members |= {name: tuple(members[name]) for name in ("files", "sorted_by")}
    return Order(**members | {"columns": tuple((name, type_) for name, type_ in members["columns"])})


def build(order: Order) -> Path:
    """Return the path of the finished file.

    Raises:
        duckdb.Error: the files cannot be read, or there is no room.
        ValueError: the file does not hold what it should.
    """
    folder = Path(order.folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in folder.glob(f"*{BUILDING}*"):
        remove(left)
    building = folder / f"{os.getpid()}{BUILDING}"
    scratch = folder / f"{os.getpid()}{BUILDING}-sort"
    try:
        rows = _write(order, building, scratch)
        if rows != order.rows:
            raise ValueError(f"{rows} rows were written where the table has {order.rows}")
        if read_manifest(building) != order.manifest(rows):
            raise ValueError("the file does not say what was written to it")
        _sync(building)
        final = folder / f"{order.manifest(rows).digest}{SUFFIX}"
        building.rename(final)
        _sync(folder)
    finally:
        for left in folder.glob(f"{os.getpid()}{BUILDING}*"):
            remove(left)
    return final


def _write(order: Order, building: Path, scratch: Path) -> int:
    """Write rows and manifest; return the rows."""
    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": f"{order.memory_bytes}B",
        "temp_directory": str(scratch),
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    # Whole vectors, so that look-ups touch few rows of a small table and scans stay cheap in a large one.
    group = min(_LARGEST_GROUP, max(_LEAST_GROUP, order.rows // 64 // _VECTOR * _VECTOR))
    shown = ", ".join(quote(name) for name, _ in order.columns)
    by = f" ORDER BY {', '.join(quote(name) for name in order.sorted_by)}" if order.sorted_by else ""
    with duckdb.connect(config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{_quoted(str(building))}' AS made (ROW_GROUP_SIZE {group})")
        source = "read_parquet($files, union_by_name = true)"
        connection.execute(
            f"CREATE TABLE made.{TABLE} AS SELECT {shown} FROM {source}{by}",  # noqa: S608 - quoted names
            {"files": list(order.files)},
        )
        found = connection.execute(f"SELECT count(*) FROM made.{TABLE}").fetchone()  # noqa: S608 - as above
        rows = int(found[0]) if found else 0
        connection.execute("CREATE TABLE made.manifest (document VARCHAR)")
        connection.execute("INSERT INTO made.manifest VALUES ($document)", {"document": order.manifest(rows).pack()})
        connection.execute("CHECKPOINT made")
        connection.execute("DETACH made")
    return rows


def _say(document: dict[str, str]) -> None:
    sys.stdout.buffer.write(orjson.dumps(document))


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
