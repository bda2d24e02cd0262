"""What serves a model version, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import LogicalType

INPUT_TYPES: Final = frozenset({LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.BOOLEAN, LogicalType.STRING})
"""What a model's input field may be."""


class Executor(Protocol):
    """A loaded model version. ``run`` is called from one thread at a time and may be called on the event loop."""

    @property
    def output_names(self) -> Sequence[str]:
        """Return the names of the outputs, in the order of the signature."""
        ...

    @property
    def takes_matrix(self) -> bool:
        """Return whether ``run`` wants one matrix (rows by fields) rather than one column for each field."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the element type of the matrix."""
        ...

    @property
    def limits(self) -> Sequence[float]:
        """Return for each field, in signature order, the largest magnitude that its input can take."""
        ...

    def run_matrix(self, matrix: NDArray[Any]) -> list[NDArray[Any]]:
        """Return one array for each output, its first axis the rows of ``matrix``.

        Raises:
            HeadwaterError: ``model_failed`` with the engine's message.
        """
        ...

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> list[NDArray[Any]]:
        """Return the outputs for values given by field in signature order; raises as ``run_matrix`` does."""
        ...


class AsyncExecutor(Protocol):
    """A model version that runs elsewhere: in a process of its own, or on another server. Used from one event loop.

    It is loaded, checked and warmed up when it is made (in a thread); ``run_*`` raise what ``Executor`` raises and

    - ``model_unavailable`` with ``retry_after_seconds`` while what runs it is away. A run that was under way when a
      process died was tried once more before that: predictions change nothing, so they may be repeated;
    - ``model_timeout`` when a run took longer than it may.
    """

    @property
    def output_names(self) -> Sequence[str]:
        """Return the names of the outputs, in the order of the signature."""
        ...

    @property
    def takes_matrix(self) -> bool:
        """Return whether ``run_matrix`` is wanted rather than ``run_columns``."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the element type of the matrix."""
        ...

    @property
    def limits(self) -> Sequence[float]:
        """Return for each field, in signature order, the largest magnitude that its input can take."""
        ...

    @property
    def depth(self) -> int:
        """Return how many runs may be under way at once to keep it busy."""
        ...

    @property
    def fault(self) -> str | None:
        """Return why it cannot run now, None while it can."""
        ...

    async def run_matrix(self, matrix: NDArray[Any]) -> list[NDArray[Any]]:
        """Return one array for each output, its first axis the rows of ``matrix``."""
        ...

    async def run_columns(self, columns: Sequence[Sequence[Any]]) -> list[NDArray[Any]]:
        """Return the outputs for values given by field in signature order."""
        ...

    def close(self) -> None:
        """Let go of what runs it, from any thread; runs under way end with ``model_unavailable``."""
        ...
