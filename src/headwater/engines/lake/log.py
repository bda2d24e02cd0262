"""The part of a Delta log that delta-rs leaves to the operating system: being on the disk for good.

delta-rs syncs nothing on local disks. Commits and checkpoints are synced here, and what a loss of power left half
written before it was synced, and so before anybody relied on it, is cleared away when a writer opens the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.logging import get_logger
from headwater.engines.lake.files import sync

LOG: Final = "_delta_log"
CHECKPOINT_INTERVAL: Final = 10
_ENTRIES_PER_COMMIT: Final = 1_000
_COMMIT: Final = re.compile(r"^(\d{20})\.json$")
_CHECKPOINT: Final = re.compile(r"^(\d{20})\.checkpoint\.parquet$")

logger = get_logger(__name__)


def commit_file(table: Path, version: int) -> Path:
    """Return the log file of a version."""
    return table / LOG / f"{version:020}.json"


def sync_commits(table: Path, after: int, through: int) -> None:
    """Make the versions above ``after`` up to ``through`` durable, as far as the log still has them."""
    for version in range(max(after + 1, 0), through + 1):
        with suppress(FileNotFoundError):
            sync(commit_file(table, version))
    sync(table / LOG)


def sync_checkpoint(table: Path, version: int) -> None:
    """Make the checkpoint of a version durable."""
    sync(table / LOG / f"{version:020}.checkpoint.parquet")
    sync(table / LOG / "_last_checkpoint")
    sync(table / LOG)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest checkpoint of a log: its version, -1 if there is none, and how many entries it holds."""

    version: int
    entries: int


def last_checkpoint(table: Path) -> Checkpoint:
    """Return the newest checkpoint that the log names."""
    try:
        found = json.loads((table / LOG / "_last_checkpoint").read_bytes())
        return Checkpoint(int(found["version"]), int(found["size"]))
    except (FileNotFoundError, ValueError, KeyError):
        return Checkpoint(-1, 0)


def is_checkpoint_due(table: Path, version: int) -> bool:
    """Return whether commits enough have gathered for a checkpoint to be worth its writing.

    A checkpoint names every file of the table, and those removed within the retention: the more, the rarer it is made.
    """
    last = last_checkpoint(table)
    return version - last.version >= max(CHECKPOINT_INTERVAL, last.entries // _ENTRIES_PER_COMMIT)


def mend(table: Path) -> None:
    """Clear away checkpoints and trailing commits that a loss of power left unreadable; nobody relied on them."""
    log = table / LOG
    for path in _newest_first(log, _CHECKPOINT):
        if _is_parquet(path):
            break
        _set_aside(path)
        (log / "_last_checkpoint").unlink(missing_ok=True)
    if last_checkpoint(table).version < 0:
        (log / "_last_checkpoint").unlink(missing_ok=True)
    for path in _newest_first(log, _COMMIT):
        if _is_commit(path):
            break
        _set_aside(path)


def _newest_first(log: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
    names = sorted((path.name for path in log.iterdir() if pattern.match(path.name)), reverse=True)
    return (log / name for name in names)


def _is_parquet(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def _is_commit(path: Path) -> bool:
    try:
        return all(isinstance(json.loads(line), dict) for line in path.read_bytes().splitlines() or [b""])
    except ValueError:
        return False


def _set_aside(path: Path) -> None:
    """Keep the broken file for a person to look at, under a name that no reader takes for the log's."""
    logger.warning("lake.log.mended", path=str(path))
    path.rename(path.with_name(f"_broken_{path.name}"))
    sync(path.parent)
