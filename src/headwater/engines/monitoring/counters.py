"""The counters behind a profile: one object for all number fields together, one for all text fields.

Whole columns go in, so that a row costs a microsecond or two however many fields there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headwater.engines.monitoring import sketch
from headwater.engines.monitoring.layout import FieldLayout

_INTEGERS: Final = np.dtype("<i8")
_FLOATS: Final = np.dtype("<f8")
#: So many values at a time stay in the processor's cache while they are compared with each edge.
_CACHED_VALUES: Final = 16_384


class Stored(msgspec.Struct, array_like=True):
    """Counters as bytes: little-endian arrays, fields in their order."""

    rows: bytes
    bins: bytes
    present: bytes
    out_of_range: bytes
    registers: bytes
    moments: bytes = b""


class Counters:
    """What both kinds count: ``bins`` lie one field after the other, each from ``offsets[i]`` to ``offsets[i + 1]``."""

    def __init__(self, fields: Sequence[FieldLayout]) -> None:
        self.fields = tuple(fields)
        self.rows = np.zeros(len(fields), np.int64)
        self.offsets = np.cumsum([0, *(field.bins for field in fields)])
        self.bins = np.zeros(self.offsets[-1], np.int64)
        self.present = np.zeros(len(fields), np.int64)
        self.out_of_range = np.zeros(len(fields), np.int64)
        self.registers = np.zeros((len(fields), sketch.REGISTERS), np.uint8)

    def merge(self, other: Any) -> None:
        """Add the counts of another of the same fields."""
        self.rows += other.rows
        self.bins += other.bins
        self.present += other.present
        self.out_of_range += other.out_of_range
        np.maximum(self.registers, other.registers, out=self.registers)

    def adopt(self, index: int, other: Any, place: int) -> None:
        """Take over the counts that another has of the same field at ``place``."""
        start, stop = self.offsets[index : index + 2]
        self.bins[start:stop] = other.bins[slice(*other.offsets[place : place + 2])]
        for name in ("rows", "present", "out_of_range", "registers"):
            getattr(self, name)[index] = getattr(other, name)[place]

    def counts(self, index: int) -> tuple[int, ...]:
        """Return the counts of one field by bin."""
        start, stop = self.offsets[index : index + 2]
        return tuple(self.bins[start:stop].tolist())

    def store(self) -> Stored:
        """Return the counters as bytes."""
        rows, bins, present, out_of_range = (
            array.astype(_INTEGERS).tobytes() for array in (self.rows, self.bins, self.present, self.out_of_range)
        )
        return Stored(rows, bins, present, out_of_range, self.registers.tobytes())

    def restore(self, stored: Stored) -> None:
        """Take the place of what was stored; ``ValueError`` when it does not fit these fields."""
        self.rows = _read(stored.rows, _INTEGERS, self.rows.shape).astype(np.int64)
        self.bins = _read(stored.bins, _INTEGERS, self.bins.shape).astype(np.int64)
        self.present = _read(stored.present, _INTEGERS, self.present.shape).astype(np.int64)
        self.out_of_range = _read(stored.out_of_range, _INTEGERS, self.out_of_range.shape).astype(np.int64)
        self.registers = _read(stored.registers, np.dtype(np.uint8), self.registers.shape).copy()


class NumberCounters(Counters):
    """Counters of number fields. ``moments`` has a row each for mean, squares about it, least and greatest value."""

    def __init__(self, fields: Sequence[FieldLayout]) -> None:
        """Count the values of ``fields``."""
        super().__init__(fields)
        most = max((len(field.edges) for field in fields), default=0)
        self._place_type = np.min_scalar_type(most)
        # By the how-manieth they are; where a field has fewer, infinity, which no value is at.
        self._edges = [
            np.array([[field.edges[nth] if nth < len(field.edges) else np.inf] for field in fields])
            for nth in range(most)
        ]
        self._least = np.array([-np.inf if field.least is None else field.least for field in fields])
        self._most = np.array([np.inf if field.most is None else field.most for field in fields])
        self.moments = np.zeros((4, len(fields)))
        self.moments[2], self.moments[3] = np.inf, -np.inf

    def update(self, values: NDArray[np.float64]) -> None:
        """Add rows: fields by rows, contiguous. What is not finite is null."""
        rows = values.shape[1]
        is_finite = np.isfinite(values)
        finite = None if is_finite.all() else is_finite
        present = np.full(len(values), rows)
        if finite is not None:
            values, present = np.where(finite, values, np.nan), np.count_nonzero(finite, axis=1)
        moments = _moments(values, finite, present)
        self._count(values)
        self.bins[self.offsets[:-1]] -= rows - present  # NaN is at or above no edge
        self._note_out_of_range(values, moments)
        sketch.note_numbers(self.registers, values, finite)
        self._merge_moments(moments, present)
        self.present += present
        self.rows += rows

    def merge(self, other: NumberCounters) -> None:
        """Add the counts of another of the same fields."""
        self._merge_moments(other.moments, other.present)
        super().merge(other)

    def adopt(self, index: int, other: Any, place: int) -> None:
        """Take over the counts that another has of the same field at ``place``."""
        super().adopt(index, other, place)
        self.moments[:, index] = other.moments[:, place]

    def store(self) -> Stored:
        """Return the counters as bytes."""
        stored = super().store()
        stored.moments = self.moments.astype(_FLOATS).tobytes()
        return stored

    def restore(self, stored: Stored) -> None:
        """Take the place of what was stored; ``ValueError`` when it does not fit these fields."""
        super().restore(stored)
        self.moments = _read(stored.moments, _FLOATS, self.moments.shape).astype(np.float64)

    def _count(self, values: NDArray[np.float64]) -> None:
        """Count values by bin: as many edges as a value is at or above, that is its bin."""
        step = max(_CACHED_VALUES // len(values), 1)
        for start in range(0, values.shape[1], step):
            part = np.ascontiguousarray(values[:, start : start + step])
            places = np.zeros(part.shape, self._place_type)
            is_above = np.empty(part.shape, np.bool_)
            for edges in self._edges:
                np.greater_equal(part, edges, out=is_above)
                places += is_above
            flat = (places + self.offsets[:-1, np.newaxis]).reshape(-1)
            self.bins += np.bincount(flat, minlength=len(self.bins))

    def _note_out_of_range(self, values: NDArray[np.float64], moments: NDArray[np.float64]) -> None:
        # Their least and greatest tell for most fields that there are none.
        for index in np.flatnonzero((moments[2] < self._least) | (moments[3] > self._most)):
            outside = (values[index] < self._least[index]) | (values[index] > self._most[index])
            self.out_of_range[index] += np.count_nonzero(outside)

    @np.errstate(over="ignore", invalid="ignore")  # squares of what is beyond 1e154 are infinite
    def _merge_moments(self, moments: NDArray[np.float64], present: NDArray[Any]) -> None:
        """Combine means and squares by their weights (Chan, Golub and LeVeque), which keeps the digits."""
        total = np.maximum(self.present + present, 1)
        mean, squares, least, most = self.moments
        distance = moments[0] - mean
        mean += distance * (present / total)
        squares += moments[1] + distance**2 * (self.present * (present / total))
        np.minimum(least, moments[2], out=least)
        np.maximum(most, moments[3], out=most)


class CategoryCounters(Counters):
    """Counters of text fields; the last bin of each is for all texts without one of their own."""

    def __init__(self, fields: Sequence[FieldLayout]) -> None:
        """Count the values of ``fields``."""
        super().__init__(fields)
        self._known = [pa.array(field.categories, pa.string()) for field in fields]

    def update(self, columns: Sequence[pa.Array]) -> None:
        """Add rows: a column of texts for each field."""
        for index, column in enumerate(columns):
            known = self._known[index]
            nulls = column.null_count
            found = pc.index_in(column, value_set=known, skip_nulls=True).fill_null(len(known))
            start, stop = self.offsets[index : index + 2]
            bins = np.bincount(found.to_numpy(zero_copy_only=False), minlength=stop - start)
            bins[-1] -= nulls
            self.bins[start:stop] += bins
            self.present[index] += len(column) - nulls
            if self.fields[index].is_closed:
                self.out_of_range[index] += bins[-1]
            texts = column.unique().drop_null().to_pylist()
            sketch.note_texts(self.registers[index], texts)
        self.rows += len(columns[0])


@np.errstate(over="ignore", invalid="ignore")
def _moments(
    values: NDArray[np.float64], finite: NDArray[np.bool_] | None, present: NDArray[Any]
) -> NDArray[np.float64]:
    """Return mean, squares about it, least and greatest value of each field; neutral ones where it has no value."""
    if finite is None:
        mean = values.mean(axis=1)
        centred = values - mean[:, np.newaxis]
        least, most = values.min(axis=1), values.max(axis=1)
    else:
        mean = np.where(finite, values, 0.0).sum(axis=1) / np.maximum(present, 1)
        centred = np.where(finite, values - mean[:, np.newaxis], 0.0)
        least = np.where(finite, values, np.inf).min(axis=1)
        most = np.where(finite, values, -np.inf).max(axis=1)
    return np.stack((mean, np.einsum("ij,ij->i", centred, centred), least, most))


def _read(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.frombuffer(data, dtype).reshape(shape)
