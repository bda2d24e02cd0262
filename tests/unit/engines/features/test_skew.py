from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.builders.features import view_of

from headwater.core.snapshot import FeatureInputSpec, FeatureSpec
from headwater.engines.features.recall import label_names, labels_of
from headwater.engines.features.skew import (
    EXAMPLES,
    Served,
    SkewReport,
    compare,
    instant,
    key_of,
    load_report,
    save_report,
)

T = 1_700_000_000_000_000


def served(*values: Any) -> list[Served]:
    return [
        Served(prediction_id=f"prd_{at}", value=value, event_us=T - 5, as_of_us=T + at)
        for at, value in enumerate(values)
    ]


def test_values_that_differ_are_counted_and_the_worst_are_shown_first() -> None:
    found = compare("v", "f", "b", served(1.0, 2.0, 3.0, None), [1.0, 2.5, 13.0, 4.0], shows_values=True)
    assert (found.compared, found.differing, found.max_abs_diff) == (4, 3, 10.0)
    assert [example.prediction_id for example in found.examples] == ["prd_3", "prd_2", "prd_1"]
    worst = found.examples[1]
    assert (worst.served, worst.history, worst.as_of, worst.event_at) == (3.0, 13.0, instant(T + 2), instant(T - 5))


@pytest.mark.parametrize(
    ("one", "other"),
    [(1.0, 1), (0.1 + 0.2, 0.3), (None, None), ("a", "a"), (True, True), (1e9, 1e9 + 0.5), (0.0, 1e-12)],
)
def test_the_same_value_is_no_difference_however_it_was_added_up(one: Any, other: Any) -> None:
    assert compare("v", "f", "b", served(one), [other], shows_values=True).differing == 0


@pytest.mark.parametrize(("one", "other"), [(1.0, None), (None, 0.0), ("a", "b"), (True, False), (1.0, 1.001)])
def test_another_value_or_none_is_one(one: Any, other: Any) -> None:
    found = compare("v", "f", "b", served(one), [other], shows_values=True)
    assert found.differing == 1
    assert found.max_abs_diff is None or math.isfinite(found.max_abs_diff)


def test_examples_are_few_and_none_where_values_may_not_be_shown() -> None:
    many = compare("v", "f", "b", served(*range(50)), [100] * 50, shows_values=True)
    assert (many.differing, len(many.examples)) == (50, EXAMPLES)
    assert compare("v", "f", "b", served(1.0), [2.0], shows_values=False).examples == ()


def test_a_key_is_read_as_it_was_logged() -> None:
    logged = {"v.f": [1, 2], "v": [{"id": 1}, T, 3], "w": [7]}
    assert key_of(logged, "v") == ({"id": 1}, T, 3)
    assert key_of(logged, "w") is None
    assert key_of(logged, "x") is None


def test_labels_have_the_types_of_the_view() -> None:
    feature = FeatureSpec(name="f", kind="column", type="number", column="f")
    view = view_of("v", feature, entities=("a", "n"), inputs=(FeatureInputSpec(name="at", type="timestamp"),))
    view = view.model_copy(update={"entity_types": ("string", "integer")})
    assert label_names(view) == ("a", "n", "at")
    labels = labels_of(view, [{"a": "x", "n": 7, "at": "2026-01-01T00:00:00Z"}, {"a": None}], [T, T])
    instants = ["timestamp[us, tz=UTC]"] * 2
    assert [str(kind) for kind in labels.schema.types] == ["string", "int64", *instants]
    with pytest.raises(ValueError, match="'n' of view 'v'"):
        labels_of(view, [{"a": "x", "n": "seven"}], [T])


def test_a_report_is_kept_whole_and_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "skew" / "env_1.mdv_1.json"
    assert load_report(path) is None
    difference = compare("v", "f", "b", served(1.0), [2.0], shows_values=True)
    for number in (1, 2):
        report = SkewReport(
            model="delay", version=number, checked_at=instant(T), since=instant(T), until=instant(T),
            features=(difference,),
        )  # fmt: skip
        save_report(path, report)
        assert load_report(path) == report
        assert report.differing == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    path.write_text("{")
    assert load_report(path) is None
