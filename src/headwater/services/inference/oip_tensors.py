"""Tensors of a request as the rows of a signature: one for each input, or one matrix for inputs of numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.services.inference.batch import Inputs
from headwater.services.inference.oip_codec import InferRequest, Tensor
from headwater.services.inference.oip_values import BYTES
from headwater.services.inference.tabular import Column
from headwater.services.inference.version import ServedVersion

MATRIX: Final = "inputs"
THREAD_FROM_ROWS: Final = 256
_NUMBERS: Final = ("FP", "INT", "UINT")
_ACCEPTED: Final = {
    LogicalType.NUMBER: _NUMBERS,
    LogicalType.INTEGER: _NUMBERS,
    LogicalType.BOOLEAN: ("BOOL",),
    LogicalType.STRING: (BYTES,),
}


class TensorReader:
    """Reads the tensors of a request."""

    def __init__(self, request: InferRequest) -> None:
        """Read ``request``."""
        self._request = request

    async def read(self, version: ServedVersion) -> Inputs:
        """Return the rows; raises ``input_invalid`` naming the tensor and, where it is one row's fault, the row."""
        read, rows = self._prepare(version)
        # A large table is read in a thread: what is wrong with it may take long to say.
        return read() if rows <= THREAD_FROM_ROWS else await asyncio.to_thread(read)

    def read_now(self, version: ServedVersion) -> Inputs | None:
        """Return the rows as ``read`` does; None where there are too many to read them at once."""
        read, rows = self._prepare(version)
        return read() if rows <= THREAD_FROM_ROWS else None

    def _prepare(self, version: ServedVersion) -> tuple[Callable[[], Inputs], int]:
        """Return what reads the rows, and how many there are."""
        if self._request.outputs:
            self._check_outputs(version)
        inputs = self._request.inputs
        names = version.signature.names
        if len(inputs) == 1 and inputs[0].name == MATRIX and MATRIX not in names:
            return partial(version.tables.read_matrix, self._matrix(version, inputs[0])), inputs[0].shape[0]
        columns: dict[str, Column] = {}
        fields = {field.name: field for field in version.signature.contract.fields}
        for tensor in inputs:
            field = fields.get(tensor.name)
            if field is None:
                raise _unknown(tensor.name, version, beside=[other.name for other in inputs if other is not tensor])
            if tensor.name in columns:
                raise HeadwaterError("input_invalid", f"input {tensor.name!r} is there twice")
            columns[tensor.name] = _column(field, tensor)
        counts = {name: len(column) for name, column in columns.items()}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{name!r} {count}" for name, count in list(counts.items())[:5])
            raise HeadwaterError("input_invalid", f"the inputs have not the same number of rows: {shown}")
        return partial(version.tables.read_columns, columns), next(iter(counts.values()))

    async def reread(self, version: ServedVersion) -> Inputs:
        """Return the rows, which are exact already."""
        return await self.read(version)

    def entity_key(self) -> bytes | None:
        """Return None: tensors name no entity."""
        return None

    @staticmethod
    def _matrix(version: ServedVersion, tensor: Tensor) -> NDArray[Any]:
        width = len(version.signature.names)
        if not version.tables.is_numeric:
            raise HeadwaterError(
                "input_invalid",
                f"input {tensor.name!r}: inputs with text cannot be one matrix",
                hint=f"send one tensor for each of {', '.join(version.signature.names)}",
            )
        if len(tensor.shape) != 2 or tensor.shape[1] != width:  # noqa: PLR2004 - rows and columns
            raise HeadwaterError(
                "input_invalid", f"input {tensor.name!r}: its shape is {list(tensor.shape)} and must be [rows, {width}]"
            )
        if tensor.datatype in {BYTES, "BOOL"}:
            raise HeadwaterError("input_invalid", f"input {tensor.name!r}: a matrix must be FP, INT or UINT")
        values = tensor.values
        if not isinstance(values, np.ndarray):
            row = next(at for at, value in enumerate(values) if value is None) // width
            raise HeadwaterError("input_invalid", f"input {tensor.name!r} row {row}: null is no {tensor.datatype}")
        return values.reshape(-1, width)

    def _check_outputs(self, version: ServedVersion) -> None:
        known = {output.name for output in version.spec.outputs}
        for name, _is_binary in self._request.outputs or ():
            if name not in known:
                raise HeadwaterError(
                    "input_invalid", f"there is no output {name[:80]!r}, only {', '.join(sorted(known))}"
                )


def _column(field: Field, tensor: Tensor) -> Column:
    if not tensor.datatype.startswith(_ACCEPTED[field.type]):
        accepted = ", ".join(_ACCEPTED[field.type])
        raise HeadwaterError(
            "input_invalid", f"input {tensor.name!r} is {field.type} and takes {accepted}, not {tensor.datatype}"
        )
    shape = list(tensor.shape)
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):  # noqa: PLR2004 - rows, perhaps by one
        raise HeadwaterError(
            "input_invalid", f"input {tensor.name!r}: its shape is {shape} and must be [rows] or [rows, 1]"
        )
    return tensor.values


def _unknown(name: str, version: ServedVersion, beside: list[str]) -> HeadwaterError:
    names = version.signature.names
    if name == MATRIX and version.tables.is_numeric:
        shown = ", ".join(repr(other[:80]) for other in beside[:5])
        return HeadwaterError("input_invalid", f"the matrix {MATRIX!r} holds every input, and there is also {shown}")
    hint = f"it takes {', '.join(names)}"
    if version.tables.is_numeric and MATRIX not in names:
        hint += f", or all of them as one matrix named {MATRIX!r}"
    return HeadwaterError("input_invalid", f"there is no input {name[:80]!r}", hint=hint)
