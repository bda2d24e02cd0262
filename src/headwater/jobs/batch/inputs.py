"""Rows of a dataset as the inputs of a model: held against the signature, with every fault named by column."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from headwater.contracts.model import Contract
from headwater.contracts.rows import FieldError, Format, ReadLimits
from headwater.contracts.validate import compile_contract

_EXACT: Final = 2**53
_LIMITS: Final = ReadLimits(max_rows=1 << 31, max_row_bytes=1 << 30)
_REDACTED: Final = "<redacted>"

Faults = Mapping[int, Sequence[FieldError]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The good rows among those of a chunk.

    Attributes:
        rows: which rows they are, ascending.
        columns: their values, a list for each input in signature order; None where there is none.
        faults: what is wrong with the others, by row.
    """

    rows: NDArray[np.int64]
    columns: Sequence[Sequence[Any]]
    faults: Faults

    def matrix(self) -> NDArray[np.float64]:
        """Return the values as numbers, rows by inputs; what is absent is NaN."""
        return np.array(self.columns, dtype=np.float64).T


class InputReader:
    """Reads rows by the contract itself, so that a row gets the verdict that it would get from a request."""

    def __init__(
        self, contract: Contract, columns: Mapping[str, str], redact: Sequence[str], fetched: Collection[str] = ()
    ) -> None:
        """Read the inputs of ``contract`` from ``columns`` (by input), keeping values of ``redact`` out of errors.

        Those that are ``fetched`` are features: a row that has no value of one is a bad row, as it is to a request.
        """
        self._validator = compile_contract(contract)
        self._fields = contract.fields
        self._columns = columns
        self._fetched = frozenset(fetched)
        self._redact = {f"/{name}" for name in redact}

    def read(self, rows: pa.Table, limits: Sequence[float]) -> Inputs:
        """Return the inputs of rows.

        Args:
            rows: with the mapped columns.
            limits: for each input the largest magnitude that the model can take.
        """
        faults: dict[int, Sequence[FieldError]] = {}
        names = [field.name for field in self._fields if field.name in self._columns]
        values = [
            self._plain(rows, name, faults, limit) for name, limit in zip(names, self._limits(limits), strict=True)
        ]
        good = [row for row in range(rows.num_rows) if row not in faults]
        if not good:
            return Inputs(np.empty(0, np.int64), [[] for _ in self._fields], self._public(faults))
        nullable = [field.nullable for field in self._fields if field.name in self._columns]
        objects = [
            {
                name: column[row]
                for name, column, is_value in zip(names, values, nullable, strict=True)
                if is_value or column[row] is not None
            }
            for row in good
        ]
        batch = self._validator.read(orjson.dumps(objects), Format.JSON, limits=_LIMITS)
        read = self._validator.columnise([batch], [0])
        for fault in read.faults[0]:
            faults[good[fault.row]] = fault.errors
        kept = np.array(good, np.int64)[np.array(read.positions[0], np.int64)]
        columns = [read.batch.column(field.name).to_pylist() for field in self._fields]
        return Inputs(kept, columns, self._public(faults))

    def _limits(self, limits: Sequence[float]) -> Sequence[float]:
        return [limit for field, limit in zip(self._fields, limits, strict=True) if field.name in self._columns]

    def _plain(self, rows: pa.Table, name: str, faults: dict[int, Sequence[FieldError]], limit: float) -> Sequence[Any]:
        """Return an input's values as JSON has them, noting what JSON or the model cannot hold."""
        values: list[Any] = rows[self._columns[name]].to_pylist()
        if values and isinstance(next((value for value in values if value is not None), None), Decimal):
            values = [None if value is None else float(value) for value in values]
        for row, value in enumerate(values):
            if (isinstance(value, int | float) and not -_EXACT < value < _EXACT) or _is_beyond(value, limit):
                error = _number_fault(name, value, limit)
                if error is not None:
                    faults[row] = (*faults.get(row, ()), error)
        if name in self._fetched:
            for row in (row for row, value in enumerate(values) if value is None):
                message = f"{self._columns[name]} has no value for the entity and no default"
                faults[row] = (*faults.get(row, ()), FieldError("entity_missing", _pointer(name), message))
        return values

    def _public(self, faults: dict[int, Sequence[FieldError]]) -> Faults:
        """Return faults without values that are not public."""
        if not self._redact:
            return faults
        return {
            row: [replace(error, actual=_REDACTED) if error.path in self._redact else error for error in errors]
            for row, errors in faults.items()
        }


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _is_beyond(value: Any, limit: float) -> bool:
    return isinstance(value, int | float) and abs(value) > limit


def _number_fault(name: str, value: float, limit: float) -> FieldError | None:
    path = _pointer(name)
    if not math.isfinite(value):
        literal = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return FieldError("type_mismatch", path, f"{literal} is not a finite number", "number", literal)
    if abs(value) > limit:
        return FieldError("out_of_range", path, f"must be within ±{limit:g}", {"le": limit, "ge": -limit}, str(value))
    if isinstance(value, int) and int(float(value)) != value:
        return FieldError("precision_loss", path, "has no exact double", "a double", str(value))
    return None
