"""The right to seal: one process a home, passed on by the operating system when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from threading import Event
from typing import IO, Final

from headwater.core.logging import get_logger

_TRY_EVERY_SECONDS: Final = 0.5

logger = get_logger(__name__)


class Lease:
    """An exclusive lock on a file, held until closed or until the process ends, however it ends."""

    def __init__(self, file: IO[str]) -> None:
        """Wrap a file that is locked already; see ``try_lease``."""
        self._file = file

    def close(self) -> None:
        """Give the lease back."""
        self._file.close()


def try_lease(path: Path) -> Lease | None:
    """Return the lease, or None while another process has it."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return Lease(file)


def wait_for_lease(path: Path, stop: Event) -> Lease | None:
    """Return the lease as soon as it is free, or None when ``stop`` is set first; say once who has it."""
    said = False
    while not stop.is_set():
        lease = try_lease(path)
        if lease is not None:
            return lease
        if not said:
            holder = path.read_text().strip() or "unknown"
            logger.warning("sealer.lease.taken", message="another sealer serves this home; waiting", pid=holder)
            said = True
        stop.wait(_TRY_EVERY_SECONDS)
    return None
