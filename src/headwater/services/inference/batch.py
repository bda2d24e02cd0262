"""One run of a model: rows or a matrix in, arrays out, and what a request gets of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from headwater.contracts.rows import FieldError
from headwater.engines.models.protocol import AsyncExecutor, Executor

Row = tuple[Any, ...]
EXACT_LIMIT: Final = float(2**53)
_SAFE_SQUARES: Final = EXACT_LIMIT**2
_DOT_SIZE: Final = 4_096


class Doubtful(Exception):
    """Rows hold numbers so large that their text decides whether they are exact; ask the signature."""


class Batch:
    """One run of the model: its inputs, kept for the log, and its outputs.

    Inputs are kept as ``matrix`` where the model takes one and as ``rows`` otherwise. The JSON text of outputs is made
    when the first request asks for it: tensors and Arrow need none.
    """

    __slots__ = ("_texts", "has_nulls", "matrix", "outputs", "rows")

    def __init__(
        self, rows: Sequence[Row], matrix: NDArray[np.float64] | None, outputs: Sequence[NDArray[Any]]
    ) -> None:
        """Keep what went in and what came out; ``has_nulls`` holds once ``texts`` was read."""
        self.rows = rows
        self.matrix = matrix
        self.outputs = outputs
        self.has_nulls = False
        self._texts: list[Sequence[bytes]] | None = None

    @property
    def texts(self) -> Sequence[Sequence[bytes]]:
        """Return for each output the JSON text of every row's value."""
        if self._texts is None:
            self._texts = [json_texts(output) for output in self.outputs]
            self.has_nulls = any(map(_has_nulls, self.outputs, self._texts))
        return self._texts

    def is_finite(self, start: int, stop: int) -> bool:
        """Return whether all numbers of these rows' outputs are finite."""
        return all(np.isfinite(output[start:stop]).all() for output in self.outputs if output.dtype.kind == "f")


class Share(msgspec.Struct):
    """What one request gets of a batch: rows ``start`` to ``stop``."""

    batch: Batch
    start: int
    stop: int


class Inputs(msgspec.Struct):
    """The rows of one request as they go to a model: values in signature order, or a matrix of them.

    ``is_exact`` says that large numbers were checked against their text. ``features`` says for each row which features
    were fetched, ``warnings`` which of them are defaults and why. Where bad rows are answered with null, ``faults`` has
    them by number.
    """

    rows: Sequence[Row] = ()
    matrix: NDArray[np.float64] | None = None
    is_exact: bool = False
    features: Sequence[Mapping[str, Any]] | None = None
    faults: Mapping[int, Sequence[FieldError]] | None = None
    warnings: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows) if self.matrix is None else len(self.matrix)


def merge(parts: Sequence[Inputs], *, takes_matrix: bool) -> Inputs:
    """Return the rows of several requests as those of one."""
    if len(parts) == 1 and (parts[0].matrix is None or takes_matrix):
        return parts[0]
    if takes_matrix and any(part.matrix is not None for part in parts):
        return Inputs(matrix=np.concatenate([_matrix_of(part) for part in parts]))
    return Inputs([row for part in parts for row in _rows_of(part)])


def matrix_for(inputs: Inputs, *, check_large: bool) -> NDArray[np.float64]:
    """Return rows as a matrix; raises ``Doubtful`` for large numbers if they are to be checked."""
    matrix = _matrix_of(inputs)
    if check_large and not _is_small(matrix) and (np.abs(matrix) >= EXACT_LIMIT).any():
        raise Doubtful
    return matrix


def columns_for(
    executor: Executor | AsyncExecutor, inputs: Inputs, *, check_large: bool
) -> tuple[Sequence[Row], list[Row]]:
    """Return rows and their columns; raises ``Doubtful`` as ``matrix_for`` does."""
    rows = _rows_of(inputs)
    columns = list(zip(*rows, strict=True))
    if check_large and any(map(_is_large, columns, executor.limits)):
        raise Doubtful
    return rows, columns


def run_sync(executor: Executor, inputs: Inputs, *, check_large: bool) -> Batch:
    """Run a model on the event loop; raises ``Doubtful`` for large numbers if they are to be checked."""
    if executor.takes_matrix:
        matrix = matrix_for(inputs, check_large=check_large)
        return Batch((), matrix, executor.run_matrix(matrix.astype(executor.dtype, copy=False)))
    rows, columns = columns_for(executor, inputs, check_large=check_large)
    return Batch(rows, None, executor.run_columns(columns))


async def run_async(executor: AsyncExecutor, inputs: Inputs, *, check_large: bool) -> Batch:
    """Run a model elsewhere; raises as ``run_sync`` does."""
    if executor.takes_matrix:
        matrix = matrix_for(inputs, check_large=check_large)
        return Batch((), matrix, await executor.run_matrix(matrix.astype(executor.dtype, copy=False)))
    rows, columns = columns_for(executor, inputs, check_large=check_large)
    return Batch(rows, None, await executor.run_columns(columns))


def json_texts(output: NDArray[Any]) -> Sequence[bytes]:
    """Return the JSON text of every row of an output; what is not finite becomes null, as JSON has no word for it."""
    if output.dtype.kind in "OU":
        return [orjson.dumps(value) for value in output.tolist()]
    if output.ndim > 1:
        return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in np.ascontiguousarray(output)]
    return orjson.dumps(np.ascontiguousarray(output), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _has_nulls(output: NDArray[Any], texts: Sequence[bytes]) -> bool:
    """Return whether a number of an output became null."""
    if output.dtype.kind != "f":
        return False
    return b"null" in texts if output.ndim == 1 else any(b"null" in text for text in texts)


def floats(values: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return numbers as an array, None where one of them is absent. ``struct`` is twice as quick as numpy at that."""
    buffer = bytearray(8 * len(values))
    try:
        struct.pack_into(f"{len(values)}d", buffer, 0, *values)
    except struct.error:
        return None
    return np.frombuffer(buffer)


def _is_small(matrix: NDArray[np.float64]) -> bool:
    """Return whether no number is large; False also where one is absent, which is NaN and below nothing."""
    if matrix.size <= _DOT_SIZE:
        # The quickest look at a few numbers is the sum of their squares; for many, BLAS would start threads.
        return bool(np.vdot(matrix, matrix) < _SAFE_SQUARES)
    return bool(matrix.max() < EXACT_LIMIT and matrix.min() > -EXACT_LIMIT)


def _matrix_of(inputs: Inputs) -> NDArray[np.float64]:
    if inputs.matrix is not None:
        return inputs.matrix
    rows = inputs.rows
    flat = floats(list(chain.from_iterable(rows)))
    # Without it a value is absent, which numpy makes NaN of.
    return np.array(rows, dtype=np.float64) if flat is None else flat.reshape(len(rows), -1)


def _rows_of(inputs: Inputs) -> Sequence[Row]:
    if inputs.matrix is None:
        return inputs.rows
    return [tuple(row) for row in inputs.matrix.tolist()]


def _is_large(column: Sequence[Any], limit: float) -> bool:
    bound = min(limit, EXACT_LIMIT)
    return any(isinstance(value, int | float) and abs(value) >= bound for value in column)
