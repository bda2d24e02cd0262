"""ONNX in a worker: only to be looked at before anybody trusts it. Served, it runs in the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.core.snapshot import OutputSpec
from headwater.engines.models.isolated.job import Job
from headwater.engines.models.onnx import OnnxExecutor


class OnnxModel:
    """A ``NativeModel`` around the executor that serves ONNX, whose answers go by the names of the outputs."""

    default_source: str | None = None

    def __init__(self, job: Job) -> None:
        """Load the artifact as the service would."""
        outputs = [
            OutputSpec.model_validate(
                {"name": item.name, "type": item.type, "shape": item.shape, "source": item.source, "index": item.index}
            )
            for item in job.outputs
        ]
        self._executor = OnnxExecutor(Path(job.artifact).read_bytes(), job.fields(), outputs, job.examples)
        self.takes_matrix: bool = self._executor.takes_matrix
        self.dtype: np.dtype[Any] = self._executor.dtype
        self.limits: tuple[float, ...] = self._executor.limits

    def want(self, sources: Sequence[str]) -> None:
        """Take any: the executor knows its own."""

    def run_matrix(self, matrix: NDArray[Any]) -> Mapping[str, Any]:
        """Return an array by output."""
        return dict(zip(self._executor.output_names, self._executor.run_matrix(matrix), strict=True))

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
        """Return an array by output."""
        return dict(zip(self._executor.output_names, self._executor.run_columns(columns), strict=True))
