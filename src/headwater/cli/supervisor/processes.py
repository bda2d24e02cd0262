"""Facts about processes: alive, the same one as before, children, memory. From ``/proc`` or else from ``ps``."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_KIB: Final = 1024
#: Fields of /proc/<pid>/stat counted behind the closing parenthesis of the name.
_STATE, _PPID, _STARTED, _RSS_PAGES = 0, 1, 19, 21


def is_alive(pid: int) -> bool:
    """Return whether a process with this id runs (a zombie does not)."""
    stat = _stat(pid)
    if stat is not None:
        return stat[_STATE] not in "ZX"
    if _PROC.joinpath("self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def identity(pid: int) -> str | None:
    """Return what tells this process from a later one with the same id: when it started. None if it is gone."""
    stat = _stat(pid)
    if stat is not None:
        return stat[_STARTED]
    if _PROC.joinpath("self").exists():
        return None
    return _ps("-o", "lstart=", "-p", str(pid)).strip() or None


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and everything below it."""
    table = _table()
    children = defaultdict(list)
    for child, (parent, _) in table.items():
        children[parent].append(child)
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        total += table.get(one, (0, 0))[1]
        waiting.extend(children[one])
    return total


def name_of(pid: int) -> str:
    """Return the command that a process runs, shortened; empty when it cannot be told."""
    with suppress(OSError):
        words = _PROC.joinpath(str(pid), "cmdline").read_bytes().split(b"\0")
        return b" ".join(word for word in words if word).decode(errors="replace")[:60]
    return ""


def _table() -> dict[int, tuple[int, int]]:
    """Return parent and resident bytes of every process."""
    if not _PROC.joinpath("self").exists():
        rows = (line.split() for line in _ps("-axo", "pid=,ppid=,rss=").splitlines())
        return {int(pid): (int(parent), int(kib) * _KIB) for pid, parent, kib in rows}
    page = os.sysconf("SC_PAGE_SIZE")
    table = {}
    for entry in _PROC.iterdir():
        stat = _stat(int(entry.name)) if entry.name.isdigit() else None
        if stat is not None:
            table[int(entry.name)] = (int(stat[_PPID]), int(stat[_RSS_PAGES]) * page)
    return table


def _stat(pid: int) -> list[str] | None:
    try:
        text = _PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _ps(*arguments: str) -> str:
    return subprocess.run(["/bin/ps", *arguments], capture_output=True, text=True, check=False).stdout
