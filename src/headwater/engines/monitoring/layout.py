"""What is profiled of a model version: which fields, and the bins that fall out of a reference.

The bins of a number are quantiles of the reference, with one bin below its least and one above its greatest value. A
reference of few distinct values has a bin for each. Where a value alone makes up a good part of the reference (rain,
which is nearly always 0), it has a bin to itself, and the quantiles are those of the rest: a changed share of zeros is
then seen, and so is a change among what is not zero. A text has a bin for each of its most frequent values and one for
all others. Layouts are immutable: profiles merge only with profiles of the same layout.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType
from headwater.core.snapshot import OutputSpec

BINS: Final = 10
FEW_VALUES: Final = 12
POINT_MASS: Final = 0.05
"""A value with more than this share of a reference has a bin of its own."""
TOP_CATEGORIES: Final = 50
_LEAST_BINS: Final = 3
MAX_ELEMENTS: Final = 32
MAX_CATEGORY_LENGTH: Final = 100

Side = Literal["input", "output"]


class Subject(msgspec.Struct, frozen=True):
    """A field before a reference was seen. ``element`` picks one value of an output that is a list.

    ``least`` and ``most`` bound what the signature allows; ``allowed`` lists it, where it does.
    """

    name: str
    side: Side
    kind: Literal["number", "category"]
    column: str
    element: int | None = None
    least: float | None = None
    most: float | None = None
    allowed: tuple[str, ...] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Return what tells the fields of a version apart."""
        return self.side, self.name


class FieldLayout(msgspec.Struct, frozen=True):
    """A field with its bins: ``edges`` between the bins of a number, or the ``categories`` that have one.

    A number below ``least`` or above ``most`` is out of range; where ``is_closed``, so is any other category.
    """

    subject: Subject
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    is_closed: bool = False

    @property
    def is_number(self) -> bool:
        """Return whether the field is a number."""
        return self.subject.kind == "number"

    @property
    def bins(self) -> int:
        """Return how many bins there are: one more than edges, or than categories."""
        return (len(self.edges) if self.is_number else len(self.categories)) + 1


class Layout(msgspec.Struct, frozen=True, dict=True):
    """The fields of a profile, numbers and categories each in their order."""

    fields: tuple[FieldLayout, ...]

    @cached_property
    def numbers(self) -> tuple[FieldLayout, ...]:
        """Return the fields that are numbers."""
        return tuple(field for field in self.fields if field.is_number)

    @cached_property
    def categories(self) -> tuple[FieldLayout, ...]:
        """Return the fields that are texts."""
        return tuple(field for field in self.fields if not field.is_number)

    @cached_property
    def id(self) -> str:
        """Return the digest that tells layouts apart."""
        return hashlib.blake2b(msgspec.msgpack.encode(self), digest_size=16).hexdigest()


def subjects_of(fields: Sequence[Field], outputs: Sequence[OutputSpec]) -> tuple[Subject, ...]:
    """Return what can be profiled of a signature; columns have the names of inputs, and of outputs.

    Lists of more than ``MAX_ELEMENTS`` values, and nested ones, are left out.
    """
    taken = {field.name for field in fields}
    found = [_input(field) for field in fields]
    for output in outputs:
        column = f"output_{output.name}" if output.name in taken else output.name
        kind: Literal["number", "category"] = "category" if output.type == "string" else "number"
        if not output.shape:
            found.append(Subject(output.name, "output", kind, column))
        elif len(output.shape) == 1 and 0 < output.shape[0] <= MAX_ELEMENTS:
            found.extend(
                Subject(f"{output.name}[{index}]", "output", kind, column, element=index)
                for index in range(output.shape[0])
            )
    return tuple(found)


def lay_out(subject: Subject, values: pa.Array) -> FieldLayout:
    """Return the bins of a field from the values that a reference has of it."""
    if subject.kind == "category":
        return _lay_out_categories(subject, values)
    numbers = values.drop_null().cast(pa.float64()).to_numpy(zero_copy_only=False)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return FieldLayout(subject, least=subject.least, most=subject.most)
    distinct = np.unique(numbers)
    inner = distinct if len(distinct) <= FEW_VALUES else _edges_of_many(numbers)
    edges = np.unique([*inner, np.nextafter(distinct[-1], math.inf)])
    return FieldLayout(
        subject,
        edges=tuple(map(float, edges)),
        least=float(distinct[0]) if subject.least is None else subject.least,
        most=float(distinct[-1]) if subject.most is None else subject.most,
    )


def column_values(subject: Subject, table: pa.Table) -> pa.Array | None:
    """Return the values of a field as a reference's table has them; None when it has no such column.

    Raises:
        ValueError: the column is of a type that the field cannot have.
    """
    if subject.column not in table.column_names:
        return None
    column = table.column(subject.column).combine_chunks()
    if subject.element is not None:
        try:
            column = pc.list_element(column, subject.element)
        except (pa.ArrowException, TypeError) as error:
            raise ValueError(f"column {subject.column!r} must hold lists: {error}") from error
    return _conformed(subject, column)


def is_single(least: float, most: float) -> bool:
    """Return whether the bin from ``least`` up to, without, ``most`` holds no value but ``least``."""
    return math.nextafter(least, math.inf) == most


def _edges_of_many(numbers: NDArray[np.float64]) -> list[float]:
    """Return the lower edges of bins: each frequent value alone, the others by as many quantiles as their share is due.

    A value is alone between itself and the next number that there is, so that counting needs to know nothing of it.
    """
    distinct, counts = np.unique(numbers, return_counts=True)
    frequent = distinct[counts > max(POINT_MASS * len(numbers), 2)]
    rest = numbers[~np.isin(numbers, frequent)]
    if not len(rest):
        return [*distinct]
    bins = max(round(BINS * len(rest) / len(numbers)), _LEAST_BINS)
    return [*np.quantile(rest, np.linspace(0, 1, bins + 1)[:-1]), *frequent, *np.nextafter(frequent, math.inf)]


def _conformed(subject: Subject, column: pa.Array) -> pa.Array:
    types: Any = pa.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_text = types.is_string(column.type) or types.is_large_string(column.type) or types.is_null(column.type)
    fits = is_text if subject.kind == "category" else not is_text or types.is_null(column.type)
    try:
        if not fits:
            raise pa.ArrowInvalid(f"it is {column.type}")
        return column.cast(pa.string() if subject.kind == "category" else pa.float64(), safe=False)
    except pa.ArrowException as error:
        wanted = "texts" if subject.kind == "category" else "numbers"
        raise ValueError(f"column {subject.column!r} must hold {wanted}: {error}") from error


def _input(field: Field) -> Subject:
    limits = field.constraints
    if field.type is LogicalType.STRING:
        allowed = None if limits.enum is None else tuple(str(value) for value in limits.enum)
        return Subject(field.name, "input", "category", field.name, allowed=allowed)
    return Subject(field.name, "input", "number", field.name, least=_least(field), most=_most(field))


def _least(field: Field) -> float | None:
    limits = field.constraints
    if limits.ge is not None:
        return float(limits.ge)
    return None if limits.gt is None else math.nextafter(float(limits.gt), math.inf)


def _most(field: Field) -> float | None:
    limits = field.constraints
    if limits.le is not None:
        return float(limits.le)
    return None if limits.lt is None else math.nextafter(float(limits.lt), -math.inf)


def _lay_out_categories(subject: Subject, values: pa.Array) -> FieldLayout:
    counted = pc.value_counts(values.drop_null().cast(pa.string()))
    counts: NDArray[Any] = counted.field("counts").to_numpy(zero_copy_only=False)
    texts: list[str] = counted.field("values").to_pylist()
    # Ties by name: the same reference has the same layout in whatever order its rows came.
    ranked = sorted(zip(-counts, texts, strict=True))
    top = tuple(text for _, text in ranked[:TOP_CATEGORIES] if len(text) <= MAX_CATEGORY_LENGTH)
    if subject.allowed is not None and len(subject.allowed) <= TOP_CATEGORIES:
        top = subject.allowed
    return FieldLayout(subject, categories=top, is_closed=len(top) >= len(texts) and bool(texts))
