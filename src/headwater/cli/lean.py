"""Keeps pandas out of the processes that serve.

None of them uses it, but where it is installed pyarrow imports it with the first list that becomes an array: 40 MB and
half a second in every process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Absent(MetaPathFinder):
    """Finds that pandas is not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for pandas; leave everything else to the other finders."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is kept out of Headwater's own processes", name=fullname)
        return None


def keep_pandas_out() -> None:
    """Make ``import pandas`` fail in this process from now on, as if it were not installed."""
    if not any(isinstance(finder, _Absent) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Absent())
