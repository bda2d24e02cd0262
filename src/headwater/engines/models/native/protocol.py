"""What a framework does for one version, inside a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headwater.core.errors import HeadwaterError


class NativeModel(Protocol):
    """A loaded artifact. Answers are arrays by *source*: what the framework or the class calls them."""

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
        """Return for each field the largest magnitude that it can take."""
        ...

    @property
    def default_source(self) -> str | None:
        """Return the source of outputs that name none; None when an output's own name is it."""
        ...

    def want(self, sources: Sequence[str]) -> None:
        """Answer with these sources from now on; raises ``misfit`` for one that there is not."""
        ...

    def run_matrix(self, matrix: NDArray[Any]) -> Mapping[str, Any]:
        """Return an array by source, its first axis the rows of ``matrix``."""
        ...

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
        """Return an array by source for values by field in signature order."""
        ...


def misfit(detail: str, hint: str) -> HeadwaterError:
    """Return the error of an artifact that does not go with its signature."""
    return HeadwaterError("model_unavailable", f"the artifact does not fit: {detail}", hint=hint)


def unreadable(detail: str, hint: str = "export the model again and push it") -> HeadwaterError:
    """Return the error of an artifact that is not what it should be."""
    return HeadwaterError("model_unavailable", f"the artifact cannot be loaded: {detail}", hint=hint)


def first_line(error: BaseException) -> str:
    """Return an exception's class and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
