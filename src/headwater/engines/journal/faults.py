"""What SQLite's errors mean to a caller."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from headwater.core.errors import HeadwaterError

_UNAVAILABLE: Final = (
    apsw.AuthError,
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)
_FULL_BELOW_BYTES: Final = 1 << 20


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's troubles as ``storage_exhausted`` or ``journal_unavailable``; let everything else through."""
    try:
        yield
    except apsw.FullError as error:
        raise exhausted(path) from error
    except _UNAVAILABLE as error:
        if isinstance(error, apsw.IOError) and _is_full(path):
            raise exhausted(path) from error
        raise unavailable(path, str(error)) from error


def unavailable(path: Path, why: str) -> HeadwaterError:
    """Return the error for a journal that cannot be read or written."""
    return HeadwaterError(
        "journal_unavailable",
        f"the journal {path} cannot be used: {why}",
        hint="check the disk and the permissions of the journal's folder, then run `headwater doctor`",
        retry_after_seconds=1,
    )


def exhausted(path: Path) -> HeadwaterError:
    """Return the error for a disk with no room left at ``path``."""
    return HeadwaterError(
        "storage_exhausted",
        f"there is no room left on the disk of {path.parent}; nothing was stored",
        hint="free disk space, or lower journal.min_free_bytes",
        retry_after_seconds=10,
    )


def _is_full(path: Path) -> bool:
    """Return whether an I/O error is a full disk in disguise: growing the shared memory file reports it so."""
    try:
        return shutil.disk_usage(path.parent).free < _FULL_BELOW_BYTES
    except OSError:
        return False
