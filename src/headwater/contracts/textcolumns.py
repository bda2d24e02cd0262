"""Columns of values that travel as text: the grammar runs over the whole column in RE2, Arrow converts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contracts import grammar
from headwater.contracts.columns import Column, Doubts, Indices
from headwater.contracts.grammar import FEW, TINY, TextPattern, false_indices, indices
from headwater.contracts.shapes import outside_instants
from headwater.contracts.textchecks import DateCheck, StringCheck, TimeCheck, TimestampCheck, UuidCheck

_INSTANT: Final = pa.timestamp("us", "UTC")
_LOCAL: Final = pa.timestamp("us")


_TIMESTAMP: Final = TextPattern.trusted(grammar.TIMESTAMP)
_NAIVE: Final = TextPattern.trusted(grammar.NAIVE_TIMESTAMP)
_DATE: Final = TextPattern.trusted(grammar.DATE)
_TIME: Final = TextPattern.trusted(grammar.TIME)


class StringColumn(Column):
    """Strings with patterns or formats."""

    is_plain = False

    def __init__(self, check: StringCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        self._patterns = [pattern for pattern, _, _ in check.patterns]

    def refine(self, values: Sequence[Any], array: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return strings."""
        for pattern in self._patterns:
            doubts.add(pattern.misses(values, array), owners)
        return array


class UuidColumn(Column):
    """UUIDs as text."""

    is_plain = False

    def __init__(self, check: UuidCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        self._pattern = TextPattern.trusted(grammar.UUID)

    def refine(self, values: Sequence[Any], array: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return text."""
        doubts.add(self._pattern.misses(values, array), owners)
        self.doubt_enum(array, owners, doubts)
        return array


class DateColumn(Column):
    """Days."""

    is_plain = False

    def __init__(self, check: DateCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        self.raw_type = pa.string()
        self._bounds = check.bounds

    def refine(self, values: Sequence[Any], array: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return days."""
        days = _convert(values, array, _DATE, self.type, owners, doubts)
        self.doubt_enum(array, owners, doubts)
        if self._bounds:
            _doubt_bounds(self._bounds, days.cast(pa.int32()), owners, doubts)
        return days


class TimeColumn(Column):
    """Times of day, kept as text."""

    is_plain = False

    def __init__(self, check: TimeCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        self._bounds = check.bounds

    def refine(self, values: Sequence[Any], array: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return text."""
        misses = _TIME.misses(values, array)
        doubts.add(misses, owners)
        self.doubt_enum(array, owners, doubts)
        if self._bounds:
            times = pc.binary_join_element_wise("1970-01-01T", _without(array, misses), "").cast(_LOCAL)
            _doubt_bounds(self._bounds, times.cast(pa.int64()), owners, doubts)
        return array


class TimestampColumn(Column):
    """Instants in UTC."""

    is_plain = False

    def __init__(self, check: TimestampCheck) -> None:
        """Prepare for the field of ``check``."""
        super().__init__(check)
        self._bounds = check.bounds
        self._unit = check.unit
        self._zone = check.field.default_timezone
        self.raw_type = pa.string() if self._unit is None else pa.int64()

    def refine(self, values: Sequence[Any], array: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return instants."""
        if self._unit is not None:
            return self._from_epoch(array, self._unit, owners, doubts)
        if len(values) <= TINY:
            return self._few_instants(values, owners, doubts)
        instants = None
        if len(values) > FEW and self._zone is None:
            instants = _quick_instants(array, owners, doubts)
        if instants is None:
            instants = self._checked_instants(values, array, owners, doubts)
        self._doubt_range(instants, owners, doubts)
        return instants

    def _few_instants(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return instants, read one by one."""
        micros: list[int | None] = []
        misses: list[int] = []
        for at, value in enumerate(values):
            try:
                micros.append(None if value is None else grammar.parse_timestamp(value, zone=self._zone))
            except ValueError:
                micros.append(None)
                misses.append(at)
        doubts.add(indices(misses), owners)
        array = pa.array(micros, _INSTANT)
        if self._bounds:
            _doubt_bounds(self._bounds, array.view(pa.int64()), owners, doubts)
        return array

    def _checked_instants(
        self, values: Sequence[Any], texts: pa.Array, owners: Indices | None, doubts: Doubts
    ) -> pa.Array:
        misses = _TIMESTAMP.misses(values, texts)
        if misses.size == 0:
            array = _to_instants(texts)
        elif self._zone is None:
            doubts.add(misses, owners)
            array = _to_instants(_without(texts, misses))
        else:
            local = self._from_local([values[i] for i in misses], misses, self._zone, owners, doubts)
            array = _to_instants(_without(texts, misses))
            order = np.arange(len(values))
            order[misses] = len(values) + np.arange(misses.size)
            array = pa.concat_arrays([array, local]).take(order)
        return array

    def _from_epoch(self, numbers: pa.Array, unit: int, owners: Indices | None, doubts: Doubts) -> pa.Array:
        low, high = -(-grammar.MIN_MICROSECONDS // unit), grammar.MAX_MICROSECONDS // unit
        inside = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
        doubts.add(false_indices(inside), owners)
        array = pc.multiply(pc.if_else(inside, numbers, None), unit).cast(_INSTANT)
        self._doubt_range(array, owners, doubts)
        return array

    @staticmethod
    def _from_local(values: list[str], at: Indices, zone: str, owners: Indices | None, doubts: Doubts) -> pa.Array:
        own = at if owners is None else owners[at]
        local = _convert(values, pa.array(values, pa.string()), _NAIVE, _LOCAL, own, doubts)
        first, second = (
            pc.assume_timezone(local, zone, ambiguous=side, nonexistent=side).cast(_INSTANT)
            for side in ("earliest", "latest")
        )
        doubts.add(false_indices(pc.equal(first, second)), own)
        return first

    def _doubt_range(self, array: pa.Array, owners: Indices | None, doubts: Doubts) -> None:
        micros = array.view(pa.int64())
        lowest, highest = _ends(micros)
        if lowest < grammar.MIN_MICROSECONDS or highest > grammar.MAX_MICROSECONDS:
            inside = pc.and_(
                pc.greater_equal(micros, grammar.MIN_MICROSECONDS), pc.less_equal(micros, grammar.MAX_MICROSECONDS)
            )
            doubts.add(false_indices(inside), owners)
        if self._bounds:
            _doubt_bounds(self._bounds, micros, owners, doubts)


def _ends(numbers: pa.Array) -> tuple[int, int]:
    """Return the least and the greatest number; zeros where there is none."""
    if numbers.null_count or not len(numbers):
        ends = pc.min_max(numbers).as_py()
        return ends["min"] or 0, ends["max"] or 0
    plain = numbers.to_numpy()
    return int(plain.min()), int(plain.max())


def _quick_instants(texts: pa.Array, owners: Indices | None, doubts: Doubts) -> pa.Array | None:
    """Return instants where the outline and Arrow agree about all texts; None to look closer."""
    outside = outside_instants(texts)
    if outside.size > FEW:
        return None
    try:
        array = _without(texts, outside).cast(_INSTANT)
    except pa.ArrowInvalid:
        return None
    doubts.add(outside, owners)
    return array


def _to_instants(texts: pa.Array) -> pa.Array:
    try:
        return texts.cast(_INSTANT)
    except pa.ArrowInvalid:  # a lower-case t or z: RFC 3339 has them, Arrow does not
        return pc.ascii_upper(texts).cast(_INSTANT)


def _without(texts: pa.Array, at: Indices) -> pa.Array:
    """Return the texts with null at some places."""
    if at.size == 0:
        return texts
    kept = np.ones(len(texts), dtype=bool)
    kept[at] = False
    return pc.if_else(pa.array(kept), texts, None)


def _convert(  # noqa: PLR0917 - values and their texts belong together
    values: Sequence[Any],
    texts: pa.Array,
    pattern: TextPattern,
    to: pa.DataType,
    owners: Indices | None,
    doubts: Doubts,
) -> pa.Array:
    """Return texts converted; what does not match is doubted and becomes null."""
    misses = pattern.misses(values, texts)
    doubts.add(misses, owners)
    sound = _without(texts, misses)
    if pa.types.is_timestamp(to):
        sound = pc.ascii_upper(sound)
    return sound.cast(to)


def _doubt_bounds(bounds: Any, numbers: pa.Array, owners: Indices | None, doubts: Doubts) -> None:
    misses = bounds.misses(numbers.fill_null(0).to_numpy(zero_copy_only=False))
    if numbers.null_count:
        misses = misses[~np.isin(misses, np.flatnonzero(numbers.is_null().to_numpy(zero_copy_only=False)))]
    doubts.add(misses, owners)
