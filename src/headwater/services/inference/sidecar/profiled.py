"""Rows as what a profile counts: numbers as one block, fields by rows, and texts by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headwater.engines.monitoring.layout import Layout, Subject, column_values
from headwater.services.inference.encoding import LoggedVersion
from headwater.services.inference.rows import Rows

_NUMERIC = "fiub"


class Columns:
    """Where the fields of a layout lie in the rows of a version."""

    def __init__(self, version: LoggedVersion, layout: Layout) -> None:
        """Look every field up, once."""
        self.layout = layout
        self._version = version
        self._inputs = {
            field.name: index for index, field in enumerate(version.fields) if field.name not in version.redacted
        }
        self._outputs = {name: index for index, name in enumerate(output_columns(version))}
        numbers = [(place, field.subject) for place, field in enumerate(layout.numbers)]
        inputs = [(place, self._inputs[one.name]) for place, one in numbers if self._is_input(one)]
        self._input_places = [place for place, _ in inputs]
        self._input_indices = [index for _, index in inputs]
        self._others = [(place, subject) for place, subject in numbers if place not in set(self._input_places)]
        self._texts = [field.subject for field in layout.categories]

    def of(self, rows: Rows) -> tuple[NDArray[np.float64] | None, list[pa.Array]]:
        """Return what ``Profile.update`` takes; fields that the rows lack are null."""
        texts = [self._text(subject, rows) for subject in self._texts]
        if not self.layout.numbers:
            return None, texts
        block = np.empty((len(self.layout.numbers), len(rows)))
        if rows.block is not None:
            block[self._input_places] = rows.block[self._input_indices]
        else:
            for place, index in zip(self._input_places, self._input_indices, strict=True):
                block[place] = _to_numbers(rows.column(index, self._version.input_types[index]))
        for place, subject in self._others:
            block[place] = self._number(subject, rows)
        return block, texts

    def _is_input(self, subject: Subject) -> bool:
        return subject.side == "input" and subject.name in self._inputs

    def _number(self, subject: Subject, rows: Rows) -> Any:
        index = self._outputs.get(subject.column) if subject.side == "output" else None
        if index is None:
            return np.nan
        values = rows.outputs[index]
        if isinstance(values, np.ndarray) and values.dtype.kind in _NUMERIC:
            if subject.element is None and values.ndim == 1:
                return values
            if subject.element is not None and values.ndim == 2:  # noqa: PLR2004 - rows and one axis
                return values[:, subject.element]
        return _to_numbers(_output_values(subject, values))

    def _text(self, subject: Subject, rows: Rows) -> pa.Array:
        if self._is_input(subject):
            index = self._inputs[subject.name]
            return rows.column(index, self._version.input_types[index])
        index_of_output = self._outputs.get(subject.column) if subject.side == "output" else None
        if index_of_output is None:
            return pa.nulls(len(rows), pa.string())
        return _output_values(subject, rows.outputs[index_of_output])


def output_columns(version: LoggedVersion) -> list[str]:
    """Return the columns that a reference has for the outputs: by their names, unless an input has one of them."""
    names = {field.name for field in version.fields}
    return [f"output_{output.name}" if output.name in names else output.name for output in version.outputs]


def rows_table(version: LoggedVersion, rows: Rows) -> pa.Table:
    """Return rows as the columns of a reference: inputs and outputs by name, without what is redacted."""
    columns = {
        field.name: rows.column(index, version.input_types[index])
        for index, field in enumerate(version.fields)
        if field.name not in version.redacted
    }
    for name, values in zip(output_columns(version), rows.outputs, strict=True):
        columns[name] = _output_array(values)
    return pa.table(columns)


def _to_numbers(values: pa.Array) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _output_values(subject: Subject, values: Any) -> pa.Array:
    found = column_values(subject, pa.table({subject.column: _output_array(values)}))
    assert found is not None
    return found


def _output_array(values: Any) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 2:  # noqa: PLR2004 - rows and one axis
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    return pa.array(values.tolist() if isinstance(values, np.ndarray) and values.ndim > 1 else values)
