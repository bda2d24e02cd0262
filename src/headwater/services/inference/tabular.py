"""Inputs that come by column, as tensors or Arrow: checked as vectors, and row by row only where that finds faults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType
from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.services.inference.batch import EXACT_LIMIT, Inputs, Row
from headwater.services.inference.faults import input_invalid, pointer
from headwater.services.inference.signature import MAX_ROWS, Signature

MAX_TABLE_ROWS: Final = 10_000
_FEW: Final = 4_096  # values; for more, BLAS would start threads
_LARGEST_ROOT: Final = 1e150
_WHOLE: Final = frozenset({LogicalType.INTEGER, LogicalType.BOOLEAN})

Column = NDArray[Any] | Sequence[Any]
"""One value a row: an array of numbers or booleans, or a sequence that may hold None."""


class TableReader:
    """Turns columns into ``Inputs`` for one model version."""

    def __init__(self, signature: Signature, limits: Sequence[float], *, takes_matrix: bool) -> None:
        """Read for a model that can take numbers up to ``limits``, by field."""
        self._signature = signature
        self._fields = signature.contract.fields
        self._limits = limits
        self._bounds = _Bounds(self._fields, limits)
        self._is_vector = takes_matrix and self._bounds.are_all
        self.is_numeric = all(field.type is not LogicalType.STRING for field in self._fields)

    def read_matrix(self, matrix: NDArray[Any]) -> Inputs:
        """Return the rows of a matrix in signature order, which has as many columns as there are fields.

        Raises:
            HeadwaterError: ``input_invalid`` with every bad row, ``too_many_rows``.
        """
        check_count(len(matrix))
        names = self._signature.names
        if not self._is_vector:
            return self.read_columns({name: matrix[:, at] for at, name in enumerate(names)})
        exact = np.ascontiguousarray(matrix, dtype=np.float64)
        bad = self._bounds.bad_rows(exact)
        if matrix.dtype.kind in "iu":
            lost = _any(_lost(matrix, exact))
            bad = lost if bad is None else bad | lost
        if bad is not None and bad.any():
            self._refuse(bad, {name: matrix[:, at] for at, name in enumerate(names)})
        return Inputs(matrix=exact, is_exact=True)

    def read_columns(self, columns: Mapping[str, Column]) -> Inputs:
        """Return the rows of columns by field name; fields that are absent have their default, or no value.

        Raises:
            HeadwaterError: ``input_invalid`` with every bad row, or naming a field that is missing.
        """
        count = len(next(iter(columns.values())))
        check_count(count)
        for field in self._fields:
            if field.name not in columns and field.required and not field.has_default:
                raise HeadwaterError(
                    "input_invalid",
                    f"input {field.name!r} is missing",
                    hint=f"it takes {', '.join(self._signature.names)}",
                )
        arrays = self._arrays(columns, count) if self._is_vector else None
        if arrays is None:
            return self._rows(columns)
        exact = np.empty((count, len(arrays)), dtype=np.float64)
        for at, array in enumerate(arrays):
            exact[:, at] = array
        bad = self._bounds.bad_rows(exact)
        for at, array in enumerate(arrays):
            if array.dtype.kind in "iu":
                lost = _lost(array, exact[:, at])
                bad = lost if bad is None else bad | lost
        if bad is not None and bad.any():
            self._refuse(bad, columns)
        return Inputs(matrix=exact, is_exact=True)

    def _arrays(self, columns: Mapping[str, Column], count: int) -> list[NDArray[Any]] | None:
        """Return an array for each field, None where a value is absent and has no default."""
        arrays: list[NDArray[Any]] = []
        for field in self._fields:
            column = columns.get(field.name)
            if column is None and field.has_default and field.default is not None:
                column = np.full(count, float(field.default))
            if not isinstance(column, np.ndarray):
                return None
            arrays.append(column)
        return arrays

    def _rows(self, columns: Mapping[str, Column]) -> Inputs:
        """Return rows of Python values, each held against the contract and against what the model can take."""
        values, faults = self._read(columns)
        if faults:
            raise input_invalid(faults)
        return Inputs(values, is_exact=True)

    def _read(self, columns: Mapping[str, Column]) -> tuple[list[Row], dict[int, Sequence[FieldError]]]:
        """Return the good rows, and what is wrong with the others by number."""
        plain = {
            field.name: _as_declared(field, columns[field.name]) for field in self._fields if field.name in columns
        }
        faults = self._find_impossible(plain)
        exactly = any(map(_has_large, plain.values()))
        rows = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
        possible = [number for number in range(len(rows)) if number not in faults] if faults else range(len(rows))
        values: list[Row] = []
        for start in range(0, len(possible), MAX_ROWS):
            numbers = possible[start : start + MAX_ROWS]
            good, found = self._signature.check_values([rows[number] for number in numbers], exactly=exactly)
            values.extend(good)
            faults |= {numbers[place]: errors for place, errors in found.items()}
        return values, faults

    def _find_impossible(self, columns: Mapping[str, Sequence[Any]]) -> dict[int, Sequence[FieldError]]:
        """Return for each row what is no number at all, or too large for the model."""
        faults: dict[int, list[FieldError]] = {}
        for name, column in columns.items():
            limit = self._limits[self._signature.names.index(name)]
            for row, value in enumerate(column):
                if isinstance(value, float) and not math.isfinite(value):
                    faults.setdefault(row, []).append(unreal(name, value))
                elif isinstance(value, int | float) and abs(value) > limit:
                    faults.setdefault(row, []).append(beyond(name, limit))
        return dict(faults)

    def _refuse(self, bad: NDArray[np.bool_], columns: Mapping[str, Column]) -> None:
        """Raise what is wrong with the bad rows, in the contract's own words."""
        rows = np.flatnonzero(bad)
        _values, faults = self._read({name: np.asarray(column)[rows] for name, column in columns.items()})
        if faults:
            raise input_invalid({int(rows[place]): errors for place, errors in faults.items()})


class _Bounds:
    """What the contract says about numbers, as vectors. ``are_all`` holds where it says nothing else."""

    def __init__(self, fields: Sequence[Field], limits: Sequence[float]) -> None:
        largest = float(np.finfo(np.float64).max)
        limits = [min(limit, largest) for limit in limits]
        bounds = [field.constraints for field in fields]
        booleans = np.array([field.type is LogicalType.BOOLEAN for field in fields])
        least = np.array([max(_first(b.ge, -largest), -limit) for b, limit in zip(bounds, limits, strict=True)])
        most = np.array([min(_first(b.le, largest), limit) for b, limit in zip(bounds, limits, strict=True)])
        self._least, self._most = np.where(booleans, 0.0, least), np.where(booleans, 1.0, most)
        self._above = np.array([_first(b.gt, -math.inf) for b in bounds])
        self._below = np.array([_first(b.lt, math.inf) for b in bounds])
        self._has_open = bool(np.isfinite(self._above).any() or np.isfinite(self._below).any())
        self._whole = np.array([field.type in _WHOLE for field in fields])
        self._has_whole = bool(self._whole.any())
        # Numbers whose squares add up to less than that are within all bounds, which is quickly seen.
        radius = 0.0 if self._has_open or self._has_whole else max(0.0, min((*self._most, *-self._least), default=0.0))
        self._squares = min(radius, _LARGEST_ROOT) ** 2
        self.are_all = all(b.multiple_of is None and b.enum is None for b in bounds)

    def bad_rows(self, matrix: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Return for each row whether it is bad, None where none is. What is not finite lies within no bounds."""
        if matrix.size <= _FEW and np.vdot(matrix, matrix) < self._squares:
            return None
        good = (matrix >= self._least) & (matrix <= self._most)
        if self._has_open:
            good &= (matrix > self._above) & (matrix < self._below)
        if self._has_whole:
            good &= ~self._whole | (np.floor(matrix) == matrix)
        if good.all():
            return None
        return _any(~good)


def check_count(rows: int) -> None:
    """Raise unless a table has as many rows as a request may have."""
    if rows == 0:
        raise HeadwaterError("input_invalid", "there are no rows", hint="send at least one")
    if rows > MAX_TABLE_ROWS:
        raise HeadwaterError(
            "too_many_rows", f"{rows} rows, and a request may have {MAX_TABLE_ROWS}", hint="send several requests"
        )


def unreal(name: str, value: float) -> FieldError:
    """Return the error for what is not finite."""
    literal = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return FieldError("type_mismatch", pointer(name), f"{literal} is not a finite number", "number", literal)


def beyond(name: str, limit: float) -> FieldError:
    """Return the error for a number that the model cannot hold."""
    return FieldError("out_of_range", pointer(name), f"must be within ±{limit:g}", {"le": limit, "ge": -limit})


def _lost(column: NDArray[Any], exact: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where a whole number has no exact double."""
    lost: NDArray[np.bool_] = np.abs(exact) >= EXACT_LIMIT
    if lost.any():
        pairs = zip(column.ravel().tolist(), exact.ravel().tolist(), strict=True)
        lost &= np.array([whole != int(double) for whole, double in pairs]).reshape(exact.shape)
    return lost


def _any(marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows have a mark."""
    rows: NDArray[np.bool_] = np.logical_or.reduce(marks, axis=1)
    return rows


def _first(bound: Any, otherwise: float) -> float:
    return otherwise if bound is None else float(bound)


def _as_declared(field: Field, column: Column) -> Sequence[Any]:
    """Return a column as Python values; numbers that can only mean a boolean become one."""
    values: Sequence[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    if field.type is not LogicalType.BOOLEAN:
        return values
    return [bool(value) if value in (0, 1) else value for value in values]


def _has_large(column: Sequence[Any]) -> bool:
    """Return whether a column has whole numbers that may not be exact as doubles."""
    return any(isinstance(value, int) and abs(value) >= EXACT_LIMIT for value in column)
