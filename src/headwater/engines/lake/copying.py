"""A copy of a table at one version, while its writers go on.

Files of a table are never changed, only added and, a day after they were replaced, deleted. So a copy is the log up to
a version and the files that this version refers to.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from headwater.core.errors import HeadwaterError
from headwater.engines.lake.files import disk_full_as_exhausted, sync
from headwater.engines.lake.log import LOG

_ATTEMPTS: Final = 5
_LOG_FILE: Final = re.compile(r"(\d{20})\..*(?:json|parquet)")


@dataclass(frozen=True, slots=True)
class TableCopy:
    """What was copied: the version, its files and rows."""

    version: int
    files: int
    rows: int


def find_tables(root: Path) -> Iterator[str]:
    """Yield the streams that have a table below ``root``."""
    for log in sorted(root.glob(f"*/*/{LOG}")):
        yield f"{log.parent.parent.name}/{log.parent.name}"


def copy_table(source: Path, target: Path, *, app_id: str, through: int, said: Callable[[int], None]) -> TableCopy:
    """Copy the newest version that has nothing of ``app_id`` beyond its transaction ``through``.

    Args:
        source: the table's folder.
        target: the copy's folder, which does not exist.
        app_id: the writer whose rows must not run ahead.
        through: its last transaction that may be in the copy.
        said: hears of bytes as they are copied.

    Raises:
        HeadwaterError: ``conflict`` when the table's upkeep kept taking away what was to be copied.
    """
    for _ in range(_ATTEMPTS):
        try:
            with disk_full_as_exhausted(target):
                handle = _version_within(source, app_id, through)
                _copy_log(source, target, handle.version())
                for name in _names(handle):
                    said(copy_file(source / name, target / name))
                sync(target)
                return check_table(target, handle.version())
        except (FileNotFoundError, DeltaError):
            shutil.rmtree(target, ignore_errors=True)
    raise HeadwaterError("conflict", f"{source} kept changing while it was copied", hint="try again")


def check_table(path: Path, version: int) -> TableCopy:
    """Return what a copied table holds.

    Raises:
        HeadwaterError: ``conflict`` when it is not at ``version`` or a file is missing or of another size.
    """
    handle = DeltaTable(path)
    if handle.version() != version:
        raise HeadwaterError("conflict", f"{path} is at version {handle.version()}, not {version}")
    actions = pa.table(handle.get_add_actions(flatten=True))
    sizes = dict(zip(actions.column("path").to_pylist(), actions.column("size_bytes").to_pylist(), strict=True))
    for name, size in sizes.items():
        file = path / unquote(name)
        if not file.is_file() or file.stat().st_size != size:
            raise HeadwaterError("conflict", f"{file} is missing or not as long as its table says")
    return TableCopy(version, len(sizes), handle.count())


def copy_file(source: Path, target: Path) -> int:
    """Copy a file durably, with its mode; return its size in bytes."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copy2(source, target)
    sync(target)
    return target.stat().st_size


def _version_within(source: Path, app_id: str, through: int) -> DeltaTable:
    handle = DeltaTable(source)
    while (done := handle.transaction_version(app_id)) is not None and done > through:
        handle = DeltaTable(source, version=handle.version() - 1)
    return handle


def _names(handle: DeltaTable) -> list[str]:
    actions = pa.table(handle.get_add_actions(flatten=True))
    return [unquote(name) for name in actions.column("path").to_pylist()]


def _copy_log(source: Path, target: Path, version: int) -> None:
    """Copy the log up to a version. Readers find its newest checkpoint without the file that would name it.

    Entries below a checkpoint may be cleaned away meanwhile: the copy is checked as a whole.
    """
    (target / LOG).mkdir(parents=True, mode=0o700)
    for path in sorted((source / LOG).iterdir()):
        match = _LOG_FILE.fullmatch(path.name)
        if match and int(match[1]) <= version and path.is_file():
            try:
                copy_file(path, target / LOG / path.name)
            except FileNotFoundError:
                (target / LOG / path.name).unlink(missing_ok=True)
    sync(target / LOG)
