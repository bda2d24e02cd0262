"""Whole columns are counted as a loop over rows and fields would count them, one value at a time."""

from __future__ import annotations

import bisect
import math
import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.engines.monitoring import sketch
from headwater.engines.monitoring.layout import FieldLayout
from headwater.engines.monitoring.profile import FieldProfile, Profile, build_profile

MASK = (1 << 64) - 1
FIELDS = (
    Field("a", LogicalType.NUMBER),
    Field("b", LogicalType.NUMBER, constraints=Constraints(ge=-1, le=2)),
    Field("few", LogicalType.INTEGER),
    Field("empty", LogicalType.NUMBER),
    Field("text", LogicalType.STRING),
)
RANDOM = np.random.default_rng(5)
REFERENCE = build_profile(
    pa.table(
        {
            "a": RANDOM.normal(size=400),
            "b": RANDOM.uniform(-1, 2, size=400),
            "few": pa.array(RANDOM.integers(0, 5, size=400)),
            "empty": pa.nulls(400, pa.float64()),
            "text": ["x", "y", "y", None] * 100,
        }
    ),
    FIELDS,
    (),
)
EDGES = [edge for field in REFERENCE.layout.numbers for edge in field.edges]

numbers = (
    st.floats(-4, 4)
    | st.sampled_from([*EDGES, *(math.nextafter(edge, -math.inf) for edge in EDGES)])
    | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300])
)
rows = st.lists(
    st.tuples(numbers, numbers, numbers, numbers, st.sampled_from(["x", "y", "q", "", "é" * 200, None])), max_size=30
)
Row = tuple[float, float, float, float, str | None]


def hashed(value: float | str) -> int:
    if isinstance(value, str):
        bits = zlib.crc32(value.encode()) | zlib.adler32(value.encode()) << 32
    else:
        (bits,) = struct.unpack("<Q", struct.pack("<d", value + 0.0))
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & MASK
    return bits ^ bits >> 31


def distinct(values: Iterable[float | str]) -> int:
    registers = np.zeros(sketch.REGISTERS, np.uint8)
    for value in values:
        place, tail = hashed(value) >> 57, hashed(value) & ((1 << 57) - 1)
        registers[place] = max(registers[place], 57 - tail.bit_length() + 1)
    return sketch.estimate(registers)


def place_of(layout: FieldLayout, value: float | str) -> int:
    if isinstance(value, str):
        return layout.categories.index(value) if value in layout.categories else len(layout.categories)
    return bisect.bisect_right(layout.edges, value)


def is_outside(layout: FieldLayout, value: float | str) -> bool:
    if isinstance(value, str):
        return layout.is_closed and value not in layout.categories
    return (layout.least is not None and value < layout.least) or (layout.most is not None and value > layout.most)


def assert_counted(found: FieldProfile, column: Sequence[float | str | None]) -> None:
    values = [value for value in column if isinstance(value, str) or (value is not None and math.isfinite(value))]
    counts = [0] * found.layout.bins
    for value in values:
        counts[place_of(found.layout, value)] += 1
    assert found.counts == tuple(counts)
    assert found.rows == len(column)
    assert found.nulls == len(column) - len(values)
    assert found.out_of_range == sum(is_outside(found.layout, value) for value in values)
    assert found.distinct == distinct(values)
    plain = [value for value in values if not isinstance(value, str)]
    if plain:
        assert (found.least, found.most) == (min(plain), max(plain))
        mean = math.fsum(plain) / len(plain)
        scale = max(map(abs, plain))
        assert found.mean is not None
        assert math.isclose(found.mean, mean, rel_tol=1e-9, abs_tol=1e-9 * scale)


@given(rows, st.integers(0, 30))
def test_columns_are_counted_as_rows_would_be(data: list[Row], split: int) -> None:
    profile = Profile(REFERENCE.layout)
    for part in (data[:split], data[split:]):
        columns = list(zip(*part, strict=True)) or [()] * len(FIELDS)
        profile.update(np.array(columns[:4], np.float64).reshape(4, -1), [pa.array(columns[4], pa.string())])
    for found, field in zip(profile.fields(), FIELDS, strict=True):
        place = [known.name for known in FIELDS].index(field.name)
        assert_counted(found, [row[place] for row in data])


@given(st.integers(0, 1_000), st.integers(1, 9_000))
def test_what_does_not_fit_a_cache_is_counted_as_what_does(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 1.5, size=(4, count))
    values[random.random(values.shape) < 0.01] = np.nan
    whole, parts = Profile(REFERENCE.layout), Profile(REFERENCE.layout)
    texts = pa.nulls(count, pa.string())
    whole.update(values, [texts])
    for start in range(0, count, 500):
        part = np.ascontiguousarray(values[:, start : start + 500])
        parts.update(part, [texts[start : start + 500]])
    for one, other in zip(whole.fields(), parts.fields(), strict=True):
        assert (one.counts, one.nulls, one.out_of_range) == (other.counts, other.nulls, other.out_of_range)
        assert (one.distinct, one.least, one.most) == (other.distinct, other.least, other.most)
