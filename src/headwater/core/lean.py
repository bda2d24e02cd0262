"""Processes that take no more memory than they need.

Libraries are kept out of those that have no use for them, where others import them because they happen to be there.

Where pandas is installed, pyarrow imports it with the first list that becomes an array: 40 MB and half a second in
every process. Where rich is, structlog imports it for tracebacks that nobody here asks for: 4 MB.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

#: Read by libraries when they are loaded. Arrow's own allocator keeps what was freed, and no process here multiplies
#: matrices large enough for a second thread.
FRUGAL: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}


class _Absent(MetaPathFinder):
    """Finds that a package is not there."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for the package; leave everything else to the other finders."""
        del path, target
        if fullname == self.package:
            raise ModuleNotFoundError(f"{fullname} is kept out of Headwater's own processes", name=fullname)
        return None


def keep_pandas_out() -> None:
    """Make ``import pandas`` fail in this process from now on, as if it were not installed."""
    if not any(isinstance(finder, _Absent) and finder.package == "pandas" for finder in sys.meta_path):
        sys.meta_path.insert(0, _Absent("pandas"))


@contextlib.contextmanager
def kept_out(package: str) -> Iterator[None]:
    """Let what is imported in this block find that a package is not there, unless it was imported before."""
    finder = _Absent(package)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def be_frugal() -> None:
    """Have libraries that are loaded from now on, here and in processes started from here, take less memory."""
    for name, value in FRUGAL.items():
        os.environ.setdefault(name, value)


def release_memory() -> None:
    """Give what was freed back to the system, where its C library can."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc's
        ctypes.CDLL(None).malloc_trim(0)
