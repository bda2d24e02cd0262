"""Running a model over checked rows: in runs as large as its requests may be, and in halves where one fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field
from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models import open_executor
from headwater.engines.models.protocol import AsyncExecutor, Executor
from headwater.jobs.batch.inputs import Inputs

PATIENCE_SECONDS: Final = 120.0
_FAILS_BY_ROW: Final = frozenset({"model_failed", "model_timeout"})
_STEP_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model said of checked rows.

    Attributes:
        rows: positions among the checked rows that have outputs, ascending.
        outputs: for each output the values of these rows.
        latency_us: for each of them, how long the run took that it was part of.
        failures: what the model said of the others, by position.
    """

    rows: NDArray[np.int64]
    outputs: Sequence[Sequence[Any] | NDArray[Any]]
    latency_us: NDArray[np.int64]
    failures: dict[int, HeadwaterError]


class Scorer:
    """A loaded version. Used from one event loop."""

    def __init__(
        self,
        spec: ModelVersionSpec,
        artifact: Path | None,
        fields: Sequence[Field],
        *,
        settings: InferenceSettings,
        max_rows: int,
    ) -> None:
        """Load the version; ``max_rows`` are run at once. Blocks; call it in a thread.

        Raises:
            HeadwaterError: ``model_unavailable``.
        """
        self._executor: Executor | AsyncExecutor = open_executor(spec, artifact, fields, settings=settings)
        self._max_rows = max_rows

    @property
    def limits(self) -> Sequence[float]:
        """Return for each input the largest magnitude that the model can take."""
        return self._executor.limits

    async def score(self, inputs: Inputs, *, by_row: bool, beat: Callable[[], None]) -> Scored:
        """Run the model over rows.

        Args:
            inputs: the rows.
            by_row: look for the rows that a run fails for, rather than fail.
            beat: called between runs.

        Raises:
            HeadwaterError: what the model raised.
        """
        parts: list[tuple[range, Sequence[NDArray[Any]], int]] = []
        failures: dict[int, HeadwaterError] = {}
        count = len(inputs.rows)
        matrix = inputs.matrix() if self._executor.takes_matrix and count else None
        waiting = [range(at, min(at + self._max_rows, count)) for at in range(0, count, self._max_rows)][::-1]
        while waiting:
            rows = waiting.pop()
            beat()
            began = time.perf_counter_ns()
            try:
                outputs = await self._run_patiently(inputs, matrix, rows, beat)
            except HeadwaterError as error:
                if not by_row or error.code not in _FAILS_BY_ROW:
                    raise
                if len(rows) == 1:
                    failures[rows[0]] = error
                else:
                    middle = rows.start + len(rows) // 2
                    waiting += [range(middle, rows.stop), range(rows.start, middle)]
                continue
            parts.append((rows, outputs, (time.perf_counter_ns() - began) // 1_000))
        return _joined(parts, failures)

    def close(self) -> None:
        """Let go of what runs the model."""
        close: Any = getattr(self._executor, "close", None)
        if close is not None:
            close()

    async def _run_patiently(
        self, inputs: Inputs, matrix: NDArray[np.float64] | None, rows: range, beat: Callable[[], None]
    ) -> Sequence[NDArray[Any]]:
        """Run the model; what runs it may be away for a while, as after rows that ended its process."""
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await self._run(inputs, matrix, rows)
            except HeadwaterError as error:
                if error.retry_after_seconds is None or time.monotonic() > gives_up_at:
                    raise
            beat()
            await asyncio.sleep(_STEP_SECONDS)

    async def _run(self, inputs: Inputs, matrix: NDArray[np.float64] | None, rows: range) -> Sequence[NDArray[Any]]:
        executor = self._executor
        if matrix is not None:
            part = np.ascontiguousarray(matrix[rows.start : rows.stop], dtype=executor.dtype)
            ran: Any = executor.run_matrix(part)
        else:
            ran = executor.run_columns([tuple(column[rows.start : rows.stop]) for column in inputs.columns])
        outputs: Sequence[NDArray[Any]] = await ran if asyncio.iscoroutine(ran) or asyncio.isfuture(ran) else ran
        return outputs


def describe(error: HeadwaterError) -> Sequence[FieldError]:
    """Return a model's failure on one row as what is wrong with the row."""
    return [FieldError(error.code, "", error.detail)]


def _joined(parts: Sequence[tuple[range, Sequence[NDArray[Any]], int]], failures: dict[int, HeadwaterError]) -> Scored:
    if not parts:
        return Scored(np.empty(0, np.int64), (), np.empty(0, np.int64), failures)
    rows = np.concatenate([np.arange(part.start, part.stop, dtype=np.int64) for part, _outputs, _us in parts])
    latency = np.concatenate([np.full(len(part), us, np.int64) for part, _outputs, us in parts])
    outputs: list[Sequence[Any] | NDArray[Any]] = [
        [value for array in arrays for value in array.tolist()]
        if arrays[0].ndim > 1 or arrays[0].dtype.kind in "OUS"
        else np.concatenate(arrays)
        for arrays in zip(*(outputs for _part, outputs, _us in parts), strict=True)
    ]
    return Scored(rows, outputs, latency, failures)
