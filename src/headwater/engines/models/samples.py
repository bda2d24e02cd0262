"""Rows to try a model on before anybody asks it: its examples, or ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType


class SampleRows:
    """Any number of rows that a model's inputs accept, as far as its author said what these are."""

    def __init__(self, fields: Sequence[Field], examples: Sequence[Mapping[str, Any]] = ()) -> None:
        """Repeat ``examples``, rows by name; without any, rows of ones."""
        self._rows = [tuple(_value(field, example) for field in fields) for example in examples or ({},)]

    def rows(self, count: int) -> list[tuple[Any, ...]]:
        """Return so many rows, their values in signature order."""
        return [self._rows[number % len(self._rows)] for number in range(count)]

    def columns(self, count: int) -> list[list[Any]]:
        """Return so many rows as one list for each field."""
        return [list(column) for column in zip(*self.rows(count), strict=True)]

    def matrix(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return so many rows of numbers; absent ones are NaN."""
        return np.array(self.rows(count), dtype=np.float64).astype(dtype)


def _value(field: Field, example: Mapping[str, Any]) -> Any:
    if field.name in example:
        return example[field.name]
    if field.has_default:
        return field.default
    if field.type is LogicalType.STRING:
        return field.constraints.enum[0] if field.constraints.enum else "1"
    return True if field.type is LogicalType.BOOLEAN else 1
