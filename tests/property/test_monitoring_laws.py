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
