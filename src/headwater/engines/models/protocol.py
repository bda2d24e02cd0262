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
