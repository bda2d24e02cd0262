"""How a signature is bound to what a remote model says it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType
from headwater.engines.models.isolated.job import may_be_absent
from headwater.engines.models.native.protocol import misfit
from headwater.engines.models.remote.codec import DTYPES

_UNNAMED: Final = {"name": "input-0", "datatype": "FP64", "shape": [-1, -1]}
_KINDS_OF_NUMBERS: Final = "fiub"
_TEXT: Final = "BYTES"
Tensor = tuple[str, str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Column:
    field: Field
    name: str
    datatype: str
    rank: int


class InputBinding:
    """From rows to the tensors that the server wants: one matrix of all fields, or one tensor for each."""

    def __init__(self, fields: Sequence[Field], described: Sequence[Mapping[str, Any]]) -> None:
        """Bind ``fields`` to the inputs of a model's metadata; raises ``model_unavailable`` if they do not fit."""
        tensors = list(described) or [_UNNAMED]  # some servers know nothing of their models
        for tensor in tensors:
            if tensor.get("datatype") not in DTYPES:
                raise misfit(
                    f"its input {tensor.get('name')!r} is {tensor.get('datatype')}", "use a type of the protocol"
                )
        self._fields = tuple(fields)
        names = [field.name for field in fields]
        self.takes_matrix = len(tensors) == 1 and tensors[0]["name"] not in names
        if self.takes_matrix:
            self._matrix = str(tensors[0]["name"]), str(tensors[0]["datatype"])
            self.dtype = DTYPES[self._matrix[1]]
            self._check_matrix(tensors[0].get("shape") or [])
            self.limits: tuple[float, ...] = (_largest(self.dtype),) * len(self._fields)
            return
        self.dtype = np.dtype(np.float64)
        self._columns = self._bind_columns({str(tensor["name"]): tensor for tensor in tensors})
        self.limits = tuple(_largest(DTYPES[column.datatype]) for column in self._columns)

    def matrix(self, matrix: NDArray[Any]) -> list[Tensor]:
        """Return the tensor of a matrix."""
        name, datatype = self._matrix
        return [(name, datatype, np.ascontiguousarray(matrix, self.dtype))]

    def columns(self, columns: Sequence[Sequence[Any]]) -> list[Tensor]:
        """Return the tensors of values by field."""
        return [self._tensor(column, values) for column, values in zip(self._columns, columns, strict=True)]

    def _tensor(self, column: _Column, values: Sequence[Any]) -> Tensor:
        if column.datatype == _TEXT:
            array: NDArray[Any] = np.empty(len(values), dtype=object)
            array[:] = ["" if value is None else value for value in values]  # the protocol has no absent text
        else:
            array = np.array(values, dtype=DTYPES[column.datatype])
        return column.name, column.datatype, array if column.rank == 1 else array.reshape(-1, 1)

    def _check_matrix(self, shape: Sequence[int]) -> None:
        texts = [field.name for field in self._fields if field.type is LogicalType.STRING]
        if texts or self.dtype.kind not in _KINDS_OF_NUMBERS:
            raise misfit(
                f"it takes one matrix of {self._matrix[1]} and {', '.join(texts) or 'the inputs'} do not fit", _EACH
            )
        if len(shape) not in (0, 2) or (len(shape) > 1 and shape[1] not in (-1, len(self._fields))):
            raise misfit(
                f"it takes a tensor of shape {list(shape)} and the signature has {len(self._fields)} inputs",
                "declare the inputs in the order of the matrix's columns",
            )
        if self.dtype.kind != "f":
            _refuse_absent(self._fields, self._matrix[1])

    def _bind_columns(self, tensors: Mapping[str, Mapping[str, Any]]) -> list[_Column]:
        names = [field.name for field in self._fields]
        if set(tensors) != set(names):
            raise misfit(
                f"its inputs are {', '.join(tensors)} and the signature's are {', '.join(names)}", "name them alike"
            )
        columns: list[_Column] = []
        for field in self._fields:
            datatype = str(tensors[field.name]["datatype"])
            if (field.type is LogicalType.STRING) != (datatype == _TEXT):
                raise misfit(f"its input {field.name!r} is {datatype} and the signature's is not", _EACH)
            if DTYPES[datatype].kind not in "fO":
                _refuse_absent([field], datatype)
            columns.append(_Column(field, field.name, datatype, len(tensors[field.name].get("shape") or [-1])))
        return columns


_EACH: Final = "declare the type that it takes"


def output_sources(described: Sequence[Mapping[str, Any]], wanted: Sequence[tuple[str, str | None]]) -> str | None:
    """Return the one output that a lone output without a source means, after checking that all sources are there.

    Args:
        described: the outputs of a model's metadata; none where the server knows nothing of them.
        wanted: name and source of each output of the signature.
    """
    there = [str(output.get("name")) for output in described]
    if len(there) == 1 and len(wanted) == 1 and wanted[0][1] is None:
        return there[0]
    for name, source in wanted:
        if there and (source or name) not in there:
            raise misfit(
                f"it has no output {source or name!r}, only {', '.join(there)}",
                "name one of them as the output's source",
            )
    return None


def _refuse_absent(fields: Sequence[Field], datatype: str) -> None:
    absent = [field.name for field in fields if may_be_absent(field)]
    if absent:
        raise misfit(
            f"it takes {datatype}, which cannot say that {', '.join(absent)} is missing",
            "make the field required and not nullable, or give it a default",
        )


def _largest(dtype: np.dtype[Any]) -> float:
    if dtype.kind == "f":
        return float(np.finfo(dtype).max)
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else float("inf")
