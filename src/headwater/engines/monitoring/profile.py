"""A profile: what the fields of many rows looked like, in a few kilobytes.

It is filled batch by batch with whole columns, merges with others of its layout in any order, and keeps for each field:
counts by bin, nulls, values out of range, an estimate of the distinct ones; for numbers mean, spread, least and most.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Self, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headwater.contracts.model import Field
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.monitoring import sketch
from headwater.engines.monitoring.counters import CategoryCounters, Counters, NumberCounters, Stored
from headwater.engines.monitoring.layout import FieldLayout, Layout, column_values, lay_out, subjects_of

FORMAT: Final = 1
MAX_BYTES: Final = 64 << 20
_LEVEL: Final = 1

S = TypeVar("S")


class _Counts(msgspec.Struct, array_like=True):
    numbers: Stored
    categories: Stored


class _Document(msgspec.Struct, array_like=True):
    format: Literal[1]
    layout: Layout
    counts: _Counts


@dataclass(frozen=True, slots=True)
class FieldProfile:
    """One field of a profile, for those who read it; what a field of texts or without values lacks is None.

    ``rows`` counts nulls too; ``counts`` does not. ``std`` is that of the values themselves, not of a population.
    """

    layout: FieldLayout
    counts: tuple[int, ...]
    rows: int
    nulls: int
    out_of_range: int
    distinct: int
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    most: float | None = None


class Profile:
    """Counters for the fields of a layout. Not safe to fill from two threads at once."""

    def __init__(self, layout: Layout) -> None:
        """Begin without rows."""
        self.layout = layout
        self._numbers = NumberCounters(layout.numbers)
        self._categories = CategoryCounters(layout.categories)

    @property
    def rows(self) -> int:
        """Return how many rows were counted."""
        return max((int(counters.rows.max()) for counters in self.parts if counters.fields), default=0)

    @property
    def parts(self) -> tuple[NumberCounters, CategoryCounters]:
        """Return the counters of numbers and of texts."""
        return self._numbers, self._categories

    def update(self, numbers: NDArray[np.float64] | None, categories: Sequence[pa.Array]) -> None:
        """Add rows.

        Args:
            numbers: fields by rows, contiguous, in the order of ``layout.numbers``; what is not finite is null.
                None where the layout has no numbers.
            categories: a column of texts for each of ``layout.categories``.
        """
        if numbers is not None and numbers.size:
            self._numbers.update(numbers)
        if categories and len(categories[0]):
            self._categories.update(categories)

    def add_table(self, table: pa.Table) -> None:
        """Add rows that lie in columns as those of a reference do; fields without a column are null.

        Raises:
            ValueError: a column is of a type that its field cannot have.
        """
        columns = {field.subject: column_values(field.subject, table) for field in self.layout.fields}
        blank = pa.nulls(table.num_rows, pa.float64()), pa.nulls(table.num_rows, pa.string())
        numbers = [_given(columns[field.subject], blank[0]) for field in self.layout.numbers]
        texts = [_given(columns[field.subject], blank[1]) for field in self.layout.categories]
        self.update(np.stack([column.to_numpy(zero_copy_only=False) for column in numbers]) if numbers else None, texts)

    def merge(self, other: Profile) -> None:
        """Add what another profile counted; ``ValueError`` when its layout is another."""
        if self.layout.id != other.layout.id:
            raise ValueError("profiles of different layouts do not merge")
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.merge(theirs)

    def fields(self) -> list[FieldProfile]:
        """Return every field, in the order of the layout."""
        numbers = iter(range(len(self.layout.numbers)))
        categories = iter(range(len(self.layout.categories)))
        return [
            self._number(next(numbers)) if field.is_number else self._field(self._categories, next(categories))
            for field in self.layout.fields
        ]

    def counters(self) -> bytes:
        """Return the counters without the layout, compressed; ``load`` reads them."""
        return _encode(self._counts())

    @classmethod
    def load(cls, layout: Layout, data: bytes) -> Self:
        """Return a profile of ``layout`` from what ``counters`` returned; ``ValueError`` when it is not that."""
        return cls._restore(layout, _decode(data, _Counts))

    def to_bytes(self) -> bytes:
        """Return the profile with its layout."""
        return _encode(_Document(FORMAT, self.layout, self._counts()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return what ``to_bytes`` wrote.

        Raises:
            HeadwaterError: ``project_invalid`` when it is no profile, or of a format that this version does not read.
        """
        try:
            document = _decode(data, _Document)
            return cls._restore(document.layout, document.counts)
        except ValueError as error:
            raise HeadwaterError(
                "project_invalid", f"this is no reference profile: {error}", hint="push the model again"
            ) from error

    def _counts(self) -> _Counts:
        return _Counts(self._numbers.store(), self._categories.store())

    @classmethod
    def _restore(cls, layout: Layout, counts: _Counts) -> Self:
        profile = cls(layout)
        profile._numbers.restore(counts.numbers)
        profile._categories.restore(counts.categories)
        return profile

    def _field(self, counters: Counters, index: int) -> FieldProfile:
        rows = int(counters.rows[index])
        return FieldProfile(
            layout=counters.fields[index],
            counts=counters.counts(index),
            rows=rows,
            nulls=rows - int(counters.present[index]),
            out_of_range=int(counters.out_of_range[index]),
            distinct=sketch.estimate(counters.registers[index]),
        )

    def _number(self, index: int) -> FieldProfile:
        field = self._field(self._numbers, index)
        present = field.rows - field.nulls
        if not present:
            return field
        mean, squares, least, most = map(float, self._numbers.moments[:, index])
        return replace(field, mean=mean, std=math.sqrt(squares / present), least=least, most=most)


def build_profile(table: pa.Table, fields: Sequence[Field], outputs: Sequence[OutputSpec]) -> Profile:
    """Return the profile of a reference: a sample of what a model was trained on, and of what it answered.

    Args:
        table: columns by the names of inputs and outputs (``output_<name>`` where an input has an output's name). A
            field without a column is left out.
        fields: the inputs of the signature.
        outputs: its outputs.

    Raises:
        HeadwaterError: ``project_invalid`` when there are no rows, none of the columns, or one of the wrong type.
    """
    found: list[FieldLayout] = []
    try:
        for subject in subjects_of(fields, outputs):
            values = column_values(subject, table)
            if values is not None:
                found.append(lay_out(subject, values))
    except ValueError as error:
        raise _unfit(str(error)) from error
    if not table.num_rows:
        raise _unfit("it has no rows")
    if not found:
        raise _unfit(f"it has none of the columns {', '.join(field.name for field in fields)[:200]}")
    profile = Profile(Layout(tuple(found)))
    profile.add_table(table)
    return profile


def extended(reference: Profile, more: Profile) -> Profile:
    """Return a reference with those fields of another that it lacks."""
    known = {field.subject.key for field in reference.layout.fields}
    added = [field for field in more.layout.fields if field.subject.key not in known]
    return _assembled([*reference.layout.fields, *added], (more, reference))


def without(profile: Profile, inputs: Collection[str]) -> Profile:
    """Return a profile without some of its inputs."""
    kept = [
        field for field in profile.layout.fields if field.subject.side == "output" or field.subject.name not in inputs
    ]
    return profile if len(kept) == len(profile.layout.fields) else _assembled(kept, (profile,))


def _assembled(fields: Sequence[FieldLayout], sources: Sequence[Profile]) -> Profile:
    profile = Profile(Layout(tuple(fields)))
    for source in sources:
        for counters, theirs in zip(profile.parts, source.parts, strict=True):
            for place, field in enumerate(theirs.fields):
                if field in counters.fields:
                    counters.adopt(counters.fields.index(field), theirs, place)
    return profile


def _given(column: pa.Array | None, blank: pa.Array) -> pa.Array:
    return blank if column is None else column


def _unfit(problem: str) -> HeadwaterError:
    return HeadwaterError(
        "project_invalid",
        f"the reference does not fit the model: {problem}",
        hint="give one column for each input and output, named as in model.yaml",
    )


def _encode(value: object) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(value), _LEVEL)


def _decode(data: bytes, kind: type[S]) -> S:
    """Return a document; ``ValueError`` when the bytes are no such thing, or too many once decompressed."""
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(data, MAX_BYTES)
        if not reader.eof:
            raise ValueError(f"it is cut off, or holds more than {MAX_BYTES} bytes")
        return msgspec.msgpack.decode(plain, type=kind)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error
