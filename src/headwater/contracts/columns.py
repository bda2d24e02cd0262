"""Typed rows into exact Arrow columns, a chunk at a time, with the checks that pay off on whole columns.

A builder takes the values of one field as the typed rows hold them. What it cannot vouch for it adds to ``Doubts``;
the exact check then decides on the row's own bytes. A builder never accepts what that check would refuse.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contracts import jsontext
from headwater.contracts.bounds import multiple_misses
from headwater.contracts.bytechecks import JsonCheck
from headwater.contracts.checks import EXACT_INTEGER, DecimalCheck, NumberCheck, ValueCheck
from headwater.contracts.grammar import FEW, TINY, false_indices, indices
from headwater.contracts.shapes import may_hold_exponents
from headwater.contracts.types import arrow_type

Indices = npt.NDArray[np.int64]
_DEEP: Final = jsontext.MAX_DEPTH // 2
_NONE: Final[Indices] = np.empty(0, dtype=np.int64)


class Doubts:
    """Rows of a chunk about which a column was not sure."""

    def __init__(self) -> None:
        """Start without doubts."""
        self._found: list[Indices] = []

    def add(self, indices: Indices, owners: Indices | None) -> None:
        """Doubt the values at ``indices``; ``owners`` names the row of each value where values are nested."""
        if len(indices):
            self._found.append(indices if owners is None else owners[indices])

    def rows(self) -> Indices:
        """Return the doubted rows, each once, in order."""
        return np.unique(np.concatenate(self._found)) if self._found else _NONE


class Column:
    """Builds the array of a field whose values Arrow takes as they are.

    Attributes:
        type: what ``build`` returns.
        raw_type: what Arrow reads the values as before ``refine`` looks at them; None where that is not all there is.
        is_plain: ``refine`` has nothing to do.
    """

    raw_type: pa.DataType | None
    is_plain = True

    def __init__(self, check: ValueCheck) -> None:
        """Prepare for the field of ``check``."""
        self.field = check.field
        self.type = self.raw_type = arrow_type(check.field)

    def build(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return the values as an array of ``self.type``, one for one."""
        return self.refine(values, pa.array(values, self.raw_type), owners, doubts)

    def refine(self, values: Sequence[Any], array: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return the array of the values, which came as ``array`` of ``raw_type``; doubt what it should not hold."""
        del values, owners, doubts
        return array

    def doubt_enum(self, array: pa.Array, owners: Indices | None, doubts: Doubts) -> None:
        """Doubt values that the contract does not list, where the typed row could not tell."""
        if self.field.constraints.enum is not None:
            listed = pa.array(list(self.field.constraints.enum), array.type)
            known = pc.or_kleene(pc.is_in(array, value_set=listed), pc.is_null(array))
            doubts.add(false_indices(known), owners)


class NumberColumn(Column):
    """Doubles: integers beyond 2**53 may have lost digits on the way."""

    is_plain = False

    def __init__(self, check: NumberCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        step = check.field.constraints.multiple_of
        self._step = None if step is None else float(step)

    def refine(self, values: Sequence[Any], array: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return doubles."""
        if len(values) <= TINY:
            doubts.add(
                indices(at for at, value in enumerate(values) if value is not None and abs(value) >= EXACT_INTEGER),
                owners,
            )
        else:
            with np.errstate(invalid="ignore"):
                large = np.abs(array.to_numpy(zero_copy_only=False)) >= EXACT_INTEGER
            doubts.add(np.flatnonzero(large), owners)
        if self._step is not None:
            doubts.add(multiple_misses(array.to_numpy(zero_copy_only=False), self._step), owners)
        self.doubt_enum(array, owners, doubts)
        return array


class DecimalColumn(Column):
    """Decimals out of their literal text."""

    is_plain = False

    def __init__(self, check: DecimalCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        self.raw_type = None
        whole = check.field.precision - check.field.scale
        integer = "0" if whole == 0 else f"(?:0|[1-9][0-9]{{0,{whole - 1}}})"
        fraction = "" if check.field.scale == 0 else rf"(?:\.[0-9]{{1,{check.field.scale}}})?"
        self._plain = f'^"?-?{integer}{fraction}"?$'
        self._bounds = check.bounds
        self._steps = check.field.constraints.multiple_of is not None

    def build(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return decimals; all are doubted where the contract names a step, which Arrow cannot check."""
        texts = json_texts(values)
        plain = pc.match_substring_regex(texts, self._plain)
        if (misses := false_indices(plain)).size:
            doubts.add(misses, owners)
            texts = pc.if_else(plain, texts, None)
        array = pc.utf8_trim(texts, characters='"').cast(self.type)
        if self._steps or not self._keeps_bounds(array, owners, doubts):
            doubts.add(np.arange(len(values)), owners)
        return array

    def _keeps_bounds(self, array: pa.Array, owners: Indices | None, doubts: Doubts) -> bool:
        """Doubt values outside of their limits; False where Arrow has no decimal for value and limit together."""
        if not self._bounds:
            return True
        wide = array.cast(pa.decimal256(self.field.precision, self.field.scale))
        try:
            for compare, limit in self._bounds.arrow_limits():
                doubts.add(false_indices(compare(wide, limit)), owners)
        except pa.ArrowInvalid:
            return False
        return True


class JsonColumn(Column):
    """Free JSON as its exact text."""

    is_plain = False

    def __init__(self, check: JsonCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        self.raw_type = None
        self._start = check.start.decode()
        self._is_nullable = check.field.nullable

    def build(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return JSON text; doubtful is what nests deeply, holds huge numbers or is of another kind."""
        if len(values) <= TINY:
            return self._build_few(values, owners, doubts)
        texts = json_texts(values, keep_null=bool(self._start) and not self._is_nullable)
        if self._start:
            doubts.add(false_indices(pc.starts_with(texts, self._start)), owners)
        elif not self._is_nullable:
            doubts.add(false_indices(pc.not_equal(texts, "null")), owners)
        doubts.add(unsound_json(texts), owners)
        return texts

    def _build_few(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        texts = [None if value is None else bytes(value) for value in values]
        start = self._start.encode()
        # One look at all of them together: hardly ever is there anything unsound.
        is_suspect = not jsontext.is_surely_sound(b"".join(filter(None, texts)), _DEEP)
        wrong = [
            at
            for at, text in enumerate(texts)
            if text is not None
            and (not text.startswith(start) or text == b"null" or (is_suspect and _is_unsound(text)))
            and not (text == b"null" and self._is_nullable)
        ]
        doubts.add(indices(wrong), owners)
        return pa.array([None if text == b"null" else text for text in texts], pa.string())


def json_texts(values: Sequence[Any], *, keep_null: bool = False) -> pa.StringArray:
    """Return msgspec's raw values as strings; None, and ``null`` unless it is kept, become null."""
    if not all(values):
        texts = pa.array([None if value is None else bytes(value) for value in values], pa.binary()).cast(pa.string())
    else:
        offsets = np.zeros(len(values) + 1, dtype=np.int32)
        np.cumsum(np.fromiter(map(len, values), dtype=np.int32, count=len(values)), out=offsets[1:])
        buffers = (pa.py_buffer(offsets), pa.py_buffer(b"".join(values)))
        texts = pa.StringArray.from_buffers(len(values), *buffers)
    if keep_null:
        return texts
    is_word = pc.equal(texts, "null")
    return pc.if_else(is_word, None, texts) if pc.any(is_word).as_py() else texts


def unsound_json(texts: pa.StringArray) -> Indices:
    """Return the indices of texts that nest near the limit or hold a number beyond the doubles."""
    suspects = []
    if may_hold_exponents(texts):
        few = len(texts) <= FEW
        suspects.append(pc.is_valid(texts) if few else pc.match_substring_regex(texts, jsontext.HUGE_EXPONENT))
    lengths = pc.binary_length(texts)
    longest = pc.max(lengths).as_py() or 0
    if longest > jsontext.MAX_DEPTH:
        suspects.append(pc.greater(pc.add(pc.count_substring(texts, "{"), pc.count_substring(texts, "[")), _DEEP))
    if longest >= jsontext.HUGE_DIGITS:
        suspects.append(pc.greater_equal(lengths, jsontext.HUGE_DIGITS))
    if not suspects:
        return _NONE
    suspected = functools.reduce(pc.or_, suspects)
    found = np.flatnonzero(pc.fill_null(suspected, fill_value=False).to_numpy(zero_copy_only=False))
    return indices(i for i in found.tolist() if _is_unsound(texts[i].as_py().encode()))


def _is_unsound(text: bytes) -> bool:
    return jsontext.is_too_deep(text, _DEEP) or jsontext.has_huge_number(text)


class ArrayColumn(Column):
    """Lists: the items of all rows are one column."""

    def __init__(self, check: ValueCheck, item: Column) -> None:
        """Prepare for the field of ``check``; ``item`` builds the items."""
        super().__init__(check)
        self._item = item
        self._is_unique = check.field.constraints.unique_items
        self.is_plain = type(item) is Column and not self._is_unique
        if not self.is_plain:
            self.raw_type = None

    def build(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return lists; rows whose items must differ are doubted unless they have at most one."""
        if self.is_plain:
            return pa.array(values, self.type)
        offsets, lengths = offsets_of(values)
        if self._is_unique:
            doubts.add(np.flatnonzero(lengths > 1), owners)
        items = list(chain.from_iterable(value for value in values if value))
        inner = np.repeat(np.arange(len(values)) if owners is None else owners, lengths)
        return pa.ListArray.from_arrays(offsets, self._item.build(items, inner, doubts), type=self.type)


class MapColumn(Column):
    """Maps: names and values of all rows are one column each."""

    is_plain = False

    def __init__(self, check: ValueCheck, item: Column) -> None:
        """Prepare for the field of ``check``; ``item`` builds the values."""
        super().__init__(check)
        self.raw_type = None
        self._item = item

    def build(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return maps."""
        offsets, lengths = offsets_of(values)
        present = [value for value in values if value]
        names = pa.array(list(chain.from_iterable(present)), pa.string())
        items = list(chain.from_iterable(value.values() for value in present))
        inner = np.repeat(np.arange(len(values)) if owners is None else owners, lengths)
        return pa.MapArray.from_arrays(offsets, names, self._item.build(items, inner, doubts), type=self.type)


def offsets_of(values: Sequence[Any]) -> tuple[pa.Array, Indices]:
    """Return the offsets of lists laid end to end, null where the list is None, and their lengths."""
    lengths = np.fromiter((0 if value is None else len(value) for value in values), dtype=np.int64, count=len(values))
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    if all(value is not None for value in values):
        return pa.array(offsets), lengths
    absent = np.fromiter((value is None for value in values), dtype=bool, count=len(values))
    return pa.array(offsets, mask=np.append(absent, values=False)), lengths
