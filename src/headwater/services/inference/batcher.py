"""Work-conserving micro-batching: what came in during one turn of the event loop, or while the last batch ran, is one.

There is no timer: a lone request runs at once. The model runs on the loop itself, because small ONNX models get slower,
not faster, in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from headwater.core.errors import HeadwaterError
from headwater.engines.models.protocol import Executor
from headwater.services.inference.signature import Row

MAX_BATCH_ROWS: Final = 1_024
MAX_WAITING_ROWS: Final = 8_192
EXACT_LIMIT: Final = float(2**53)


class Doubtful(Exception):
    """Rows hold numbers so large that their text decides whether they are exact; ask the signature."""


@dataclass(slots=True)
class Batch:
    """One run of the model: its inputs, its outputs, and the JSON text of every output value.

    Inputs are kept for the log, as ``matrix`` where the model takes one and as ``rows`` otherwise.
    """

    rows: Sequence[Row]
    matrix: NDArray[np.float64] | None
    outputs: Sequence[NDArray[Any]]
    texts: Sequence[Sequence[bytes]]
    has_nulls: bool


@dataclass(slots=True)
class Share:
    """What one request gets of a batch: rows ``start`` to ``stop``."""

    batch: Batch
    start: int
    stop: int


@dataclass(slots=True)
class _Waiting:
    rows: Sequence[Row]
    deadline: float | None
    is_exact: bool
    future: asyncio.Future[Share]


class MicroBatcher:
    """The queue in front of one executor. Used from one event loop."""

    def __init__(self, executor: Executor) -> None:
        """Run ``executor``."""
        self._executor = executor
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._is_scheduled = False

    @property
    def is_full(self) -> bool:
        """Return whether another request would wait too long."""
        return self._waiting_rows >= MAX_WAITING_ROWS

    def submit(
        self, rows: Sequence[Row], *, deadline: float | None = None, is_exact: bool = False
    ) -> asyncio.Future[Share]:
        """Queue rows for the next batch.

        Args:
            rows: values in signature order.
            deadline: instant of ``time.monotonic`` after which nobody waits for the answer.
            is_exact: large numbers were checked against their text.

        Returns:
            A future with the rows' share of a batch, or ``Doubtful``, or a ``HeadwaterError``.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Share] = loop.create_future()
        self._waiting.append(_Waiting(rows, deadline, is_exact, future))
        self._waiting_rows += len(rows)
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        taken: list[_Waiting] = []
        count = 0
        waiting = self._waiting
        while waiting and (not taken or count + len(waiting[0].rows) <= MAX_BATCH_ROWS):
            item = waiting.popleft()
            self._waiting_rows -= len(item.rows)
            if item.future.done():
                continue
            if item.deadline is not None and time.monotonic() > item.deadline:
                item.future.set_exception(_too_late())
                continue
            taken.append(item)
            count += len(item.rows)
        if taken:
            self._run(taken)
        if waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._is_scheduled = False

    def _run(self, items: Sequence[_Waiting]) -> None:
        """Run requests as one batch; when that fails, one by one, so that only the culprit fails."""
        rows = items[0].rows if len(items) == 1 else [row for item in items for row in item.rows]
        try:
            batch = run_rows(self._executor, rows, check_large=not all(item.is_exact for item in items))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            if len(items) == 1:
                items[0].future.set_exception(error)
                return
            for item in items:
                self._run([item])
            return
        start = 0
        for item in items:
            stop = start + len(item.rows)
            item.future.set_result(Share(batch, start, stop))
            start = stop


def run_rows(executor: Executor, rows: Sequence[Row], *, check_large: bool) -> Batch:
    """Run the model on rows; raises ``Doubtful`` for large numbers if they are to be checked."""
    matrix: NDArray[np.float64] | None = None
    if executor.takes_matrix:
        matrix = np.array(rows, dtype=np.float64)
        if check_large and (np.abs(matrix) >= EXACT_LIMIT).any():
            raise Doubtful
        outputs = executor.run_matrix(matrix.astype(executor.dtype, copy=False))
    else:
        columns = list(zip(*rows, strict=True))
        if check_large and any(map(_is_large, columns, executor.limits)):
            raise Doubtful
        outputs = executor.run_columns(columns)
    texts = [json_texts(output) for output in outputs]
    return Batch(rows if matrix is None else (), matrix, outputs, texts, any(b"null" in column for column in texts))


def json_texts(output: NDArray[Any]) -> Sequence[bytes]:
    """Return the JSON text of every row of an output; what is not finite becomes null, as JSON has no word for it."""
    if output.dtype.kind in "OU":
        return [orjson.dumps(value) for value in output.tolist()]
    if output.ndim > 1:
        return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in np.ascontiguousarray(output)]
    return orjson.dumps(np.ascontiguousarray(output), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _is_large(column: Sequence[Any], limit: float) -> bool:
    bound = min(limit, EXACT_LIMIT)
    return any(isinstance(value, int | float) and abs(value) >= bound for value in column)


def _too_late() -> HeadwaterError:
    return HeadwaterError(
        "overloaded", "the deadline passed while the request waited; it was not run", retry_after_seconds=1
    )
