"""What holds for every profile and every distance, whatever the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.contracts.model import Field, LogicalType
from headwater.engines.monitoring.drift import chi2_p, js, ks, psi
from headwater.engines.monitoring.profile import Profile, build_profile

FIELDS = (Field("a", LogicalType.NUMBER), Field("b", LogicalType.STRING))
REFERENCE = build_profile(pa.table({"a": np.linspace(-3, 3, 500), "b": ["x", "y", "y", "z", None] * 100}), FIELDS, ())

Row = tuple[float, str | None]
numbers = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, 0.0, -0.0])
rows = st.lists(st.tuples(numbers, st.sampled_from(["x", "y", "q", "", None])), max_size=40)
counts = st.lists(st.integers(0, 10_000), min_size=3, max_size=3).filter(any)


def profile(data: Sequence[Row]) -> Profile:
    made = Profile(REFERENCE.layout)
    made.update(np.array([[row[0] for row in data]]), [pa.array([row[1] for row in data], pa.string())])
    return made


def merged(*parts: Profile) -> Profile:
    total = Profile(REFERENCE.layout)
    for part in parts:
        total.merge(part)
    return total


def assert_same(one: Profile, other: Profile) -> None:
    """Compare two profiles: exactly but for the moments, which rounding may move."""
    for left, right in zip(one.fields(), other.fields(), strict=True):
        for name in ("counts", "rows", "nulls", "out_of_range", "distinct", "least", "most"):
            assert getattr(left, name) == getattr(right, name), name
        for name in ("mean", "std"):
            found, wanted = getattr(left, name), getattr(right, name)
            assert (found is None) == (wanted is None)
            assert found is None or math.isclose(found, wanted, rel_tol=1e-6, abs_tol=0.05), name


@given(rows, rows, rows)
def test_merging_is_associative_and_commutative(a: list[Row], b: list[Row], c: list[Row]) -> None:
    left = merged(merged(profile(a), profile(b)), profile(c))
    right = merged(profile(a), merged(profile(b), profile(c)))
    assert_same(left, right)
    assert_same(left, merged(profile(c), profile(a), profile(b)))
    assert_same(left, profile([*a, *b, *c]))


@given(st.data(), rows)
def test_the_order_of_rows_does_not_matter(data: st.DataObject, found: list[Row]) -> None:
    assert_same(profile(found), profile(data.draw(st.permutations(found))))


@given(rows)
def test_every_row_is_in_one_bin_or_null(found: list[Row]) -> None:
    for field in profile(found).fields():
        assert sum(field.counts) + field.nulls == field.rows == len(found)


@given(rows)
def test_a_profile_survives_its_bytes(found: list[Row]) -> None:
    made = profile(found)
    assert Profile.load(made.layout, made.counters()).fields() == made.fields()


@given(counts, st.integers(1, 50))
def test_equal_shares_are_at_no_distance(found: list[int], times: int) -> None:
    scaled = [count * times for count in found]
    for measure in (psi, ks, js):
        assert measure(found, scaled) == pytest.approx(0, abs=1e-7)
    assert psi(found, found) == 0
    assert chi2_p(found, scaled) == pytest.approx(1)


@given(counts, counts)
def test_distances_are_symmetric_and_bounded(one: list[int], other: list[int]) -> None:
    for measure in (psi, ks, js, chi2_p):
        there, back = measure(one, other), measure(other, one)
        assert there is not None
        assert there == pytest.approx(back, abs=1e-9)
        assert there >= 0
        if measure is not psi:
            assert there <= 1


def rain(zeros: float, rows: int = 4_000, seed: int = 7) -> pa.Table:
    """Return a field that is zero with a given chance, else lies about 2."""
    random = np.random.default_rng(seed)
    amounts = random.gamma(2.0, 1.0, rows)
    return pa.table({"rain": np.where(random.random(rows) < zeros, 0.0, amounts)})


def rain_profile(table: pa.Table, reference: Profile) -> Profile:
    made = Profile(reference.layout)
    made.add_table(table)
    return made


RAIN = (Field("rain", LogicalType.NUMBER),)


@given(st.lists(st.sampled_from([0.0, 5.0, -1.0]) | st.floats(-1e150, 1e150), min_size=1, max_size=300), rows)
def test_every_value_has_one_bin_whatever_the_reference_repeats(known: list[float], found: list[Row]) -> None:
    reference = build_profile(pa.table({"rain": pa.array(known, pa.float64())}), RAIN, ())
    (field,) = reference.fields()
    assert sum(field.counts) == len(known)
    assert field.counts[0] == field.counts[-1] == 0, "a reference has nothing below its least or above its greatest"
    edges = field.layout.edges
    assert list(edges) == sorted(set(edges))
    (now,) = rain_profile(pa.table({"rain": pa.array([row[0] for row in found], pa.float64())}), reference).fields()
    assert sum(now.counts) + now.nulls == len(found)


@given(st.floats(0.3, 0.97), st.integers(0, 1_000))
def test_the_share_of_a_value_that_is_frequent_is_counted_exactly(zeros: float, seed: int) -> None:
    table = rain(zeros, seed=seed)
    (field,) = build_profile(table, RAIN, ()).fields()
    at = field.layout.edges.index(0.0)
    assert field.layout.edges[at + 1] == math.nextafter(0.0, math.inf)
    assert field.counts[at + 1] == int((table.column("rain").to_numpy() == 0).sum())


@given(st.floats(0.6, 0.95), st.integers(0, 1_000))
def test_a_changed_share_of_zeros_is_seen_and_an_equal_one_is_not(zeros: float, seed: int) -> None:
    reference = build_profile(rain(zeros, seed=seed), RAIN, ())
    (expected,) = reference.fields()
    (calm,) = rain_profile(rain(zeros, seed=seed + 5_000), reference).fields()
    (wet,) = rain_profile(rain(zeros - 0.5, seed=seed + 9_000), reference).fields()
    quiet, loud = psi(expected.counts, calm.counts), psi(expected.counts, wet.counts)
    assert quiet is not None
    assert loud is not None
    assert quiet < 0.05
    assert loud > 0.5


@given(st.integers(0, 1_000))
def test_a_change_among_what_is_not_zero_is_seen_too(seed: int) -> None:
    reference = build_profile(rain(0.8, seed=seed), RAIN, ())
    (expected,) = reference.fields()
    heavier = pa.table({"rain": rain(0.8, seed=seed + 5_000).column("rain").to_numpy() * 3})
    (found,) = rain_profile(heavier, reference).fields()
    assert (psi(expected.counts, found.counts) or 0) > 0.1
