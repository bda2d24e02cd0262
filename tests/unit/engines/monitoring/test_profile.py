from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.monitoring.drift import measure
from headwater.engines.monitoring.layout import Layout
from headwater.engines.monitoring.profile import FieldProfile, Profile, build_profile, extended

HOUR = Field("hour", LogicalType.INTEGER, constraints=Constraints(ge=0, lt=24))
CARRIER = Field("carrier", LogicalType.STRING)
IS_LATE = Field("is_late", LogicalType.BOOLEAN, required=False)
SCORE = OutputSpec(name="score", type="number")
RNG = np.random.default_rng(7)


def of(profile: Profile, name: str) -> FieldProfile:
    return next(field for field in profile.fields() if field.layout.subject.name == name)


def columns(**values: Any) -> pa.Table:
    return pa.table(values)


def test_a_number_is_counted_by_quantiles_of_its_reference() -> None:
    values = np.arange(1_000.0)
    profile = build_profile(columns(hour=values), [HOUR], ())
    field = of(profile, "hour")
    assert len(field.counts) == 12
    assert field.counts[0] == field.counts[-1] == 0
    assert set(field.counts[1:-1]) == {100}
    assert (field.rows, field.nulls, field.least, field.most) == (1_000, 0, 0, 999)
    assert field.mean == pytest.approx(values.mean())
    assert field.std == pytest.approx(values.std())
    assert field.distinct == pytest.approx(1_000, rel=0.25)
    assert field.out_of_range == 976


def test_few_distinct_values_have_a_bin_each() -> None:
    profile = build_profile(columns(hour=[3, 3, 3]), [HOUR], ())
    live = Profile(profile.layout)
    live.update(np.array([[2.0, 3.0, 3.0, 4.0, 3.5]]), [])
    assert of(profile, "hour").counts == (0, 3, 0)
    assert of(live, "hour").counts == (1, 2, 2)


@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(absent: float) -> None:
    live = Profile(build_profile(columns(hour=[1.0, 2.0]), [HOUR], ()).layout)
    live.update(np.array([[absent, 1.0, 2.0, absent]]), [])
    live.update(np.array([[absent]]), [])
    field = of(live, "hour")
    assert (field.rows, field.nulls, sum(field.counts), field.distinct) == (5, 3, 2, 2)
    assert (field.mean, field.least, field.most) == (1.5, 1, 2)


def test_a_field_of_nulls_has_no_numbers() -> None:
    live = Profile(build_profile(columns(hour=[1.0]), [HOUR], ()).layout)
    live.update(np.full((1, 4), math.nan), [])
    field = of(live, "hour")
    assert (field.nulls, field.mean, field.std, field.least) == (4, None, None, None)
    assert measure(field, field).psi is None


def test_texts_are_counted_by_the_most_frequent_ones() -> None:
    carriers = [f"C{number}" for number in range(80) for _ in range(100 - number)]
    profile = build_profile(columns(carrier=carriers), [CARRIER], ())
    field = of(profile, "carrier")
    assert field.layout.categories[:2] == ("C0", "C1")
    assert len(field.counts) == 51
    assert field.counts[-1] == sum(100 - number for number in range(50, 80))
    assert field.out_of_range == 0
    assert field.distinct == pytest.approx(80, rel=0.2)


def test_an_unknown_text_is_out_of_range_where_all_are_known() -> None:
    live = Profile(build_profile(columns(carrier=["UA", "AA", None]), [CARRIER], ()).layout)
    live.update(None, [pa.array(["UA", "ZZ", None, "ZZ"])])
    field = of(live, "carrier")
    assert (field.rows, field.nulls, field.out_of_range) == (4, 1, 2)
    assert field.counts == (0, 1, 2)


def test_declared_values_are_the_categories() -> None:
    declared = Field("carrier", LogicalType.STRING, constraints=Constraints(enum=("UA", "AA", "B6")))
    field = of(build_profile(columns(carrier=["AA", "XX"]), [declared], ()), "carrier")
    assert field.layout.categories == ("UA", "AA", "B6")
    assert (field.counts, field.out_of_range) == ((0, 1, 0, 1), 1)


def test_booleans_and_lists_of_outputs_are_numbers() -> None:
    outputs = [OutputSpec(name="probabilities", type="number", shape=(2,)), OutputSpec(name="label", type="string")]
    table = columns(is_late=[True, None, False], probabilities=[[0.1, 0.9]] * 3, label=["late", "late", "early"])
    profile = build_profile(table, [IS_LATE], outputs)
    names = [field.layout.subject.name for field in profile.fields()]
    assert names == ["is_late", "probabilities[0]", "probabilities[1]", "label"]
    assert of(profile, "is_late").mean == 0.5
    assert of(profile, "probabilities[1]").mean == pytest.approx(0.9)


def test_an_output_with_the_name_of_an_input_has_a_column_of_its_own() -> None:
    output = OutputSpec(name="hour", type="number")
    profile = build_profile(columns(hour=[1, 2], output_hour=[10, 20]), [HOUR], [output])
    assert [(field.layout.subject.side, field.most) for field in profile.fields()] == [("input", 2), ("output", 20)]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (columns(hour=["a"]), "column 'hour' must hold numbers"),
        (columns(carrier=[1]), "column 'carrier' must hold texts"),
        (columns(other=[1]), "none of the columns hour, carrier"),
        (columns(hour=pa.array([], pa.float64())), "no rows"),
        (columns(hour=[[1.0]]), "column 'hour' must hold numbers"),
        (columns(score=pa.array([{"a": 1}])), "column 'score' must hold numbers"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused_with_the_column(table: pa.Table, problem: str) -> None:
    with pytest.raises(HeadwaterError, match=problem) as caught:
        build_profile(table, [HOUR, CARRIER], [SCORE])
    assert caught.value.code == "project_invalid"


def test_a_profile_survives_its_bytes() -> None:
    profile = build_profile(columns(hour=[1.0, None, 9], carrier=["a", "b", "a"]), [HOUR, CARRIER], ())
    again = Profile.from_bytes(profile.to_bytes())
    assert again.fields() == profile.fields()
    assert again.layout.id == profile.layout.id
    assert Profile.load(profile.layout, profile.counters()).fields() == profile.fields()


@pytest.mark.parametrize("damage", [b"", b"x", b"\x78\x9c", "cut", "flip"])
def test_damaged_bytes_are_refused(damage: bytes | str) -> None:
    good = build_profile(columns(hour=[1.0]), [HOUR], ()).to_bytes()
    bad = damage if isinstance(damage, bytes) else good[:-8] if damage == "cut" else good[:20] + b"!!" + good[22:]
    with pytest.raises(HeadwaterError, match="no reference profile"):
        Profile.from_bytes(bad)


def test_counters_of_another_layout_are_refused() -> None:
    one = build_profile(columns(hour=[1.0]), [HOUR], ())
    other = build_profile(columns(hour=np.arange(100.0)), [HOUR], ())
    with pytest.raises(ValueError, match="different layouts"):
        one.merge(other)
    with pytest.raises(ValueError, match="reshape"):
        Profile.load(one.layout, other.counters())


def test_a_reference_takes_the_fields_it_lacks_from_another() -> None:
    training = build_profile(columns(hour=[1.0, 2.0], carrier=["a", "b"]), [HOUR, CARRIER], [SCORE])
    first = build_profile(columns(hour=[9.0], carrier=["z"], score=[0.5]), [HOUR, CARRIER], [SCORE])
    joined = extended(training, first)
    assert {field.layout.subject.name: (field.rows, field.most) for field in joined.fields()} == {
        "hour": (2, 2.0),
        "carrier": (2, None),
        "score": (1, 0.5),
    }
    assert of(joined, "hour") == of(training, "hour")
    assert of(joined, "carrier") == of(training, "carrier")


def test_a_shift_shows_and_its_absence_does_not() -> None:
    reference = build_profile(columns(hour=RNG.normal(size=5_000)), [HOUR], ())
    calm, shifted = Profile(reference.layout), Profile(reference.layout)
    calm.update(RNG.normal(size=(1, 2_000)), [])
    shifted.update(RNG.normal(0.7, size=(1, 2_000)), [])
    quiet = measure(of(reference, "hour"), of(calm, "hour"))
    loud = measure(of(reference, "hour"), of(shifted, "hour"))
    assert quiet.psi is not None
    assert loud.psi is not None
    assert quiet.psi < 0.02
    assert loud.psi > 0.2
    assert quiet.chi2_p is not None
    assert loud.chi2_p is not None
    assert loud.chi2_p < 1e-6
    assert quiet.chi2_p > 1e-3


def test_thirty_columns_cost_a_few_microseconds_a_row() -> None:
    fields = [Field(f"f{number}", LogicalType.NUMBER) for number in range(30)]
    table = pa.table({field.name: RNG.normal(size=2_000) for field in fields})
    live = Profile(build_profile(table, fields, ()).layout)
    values = RNG.normal(size=(30, 2_048))
    best = math.inf
    for _ in range(7):
        began = time.perf_counter()
        live.update(values, [])
        best = min(best, time.perf_counter() - began)
    assert best / 2_048 < 5e-6  # one to two on a quiet machine
    assert len(live.counters()) < 6_000


def test_an_empty_layout_counts_nothing() -> None:
    assert Profile(Layout(())).rows == 0
