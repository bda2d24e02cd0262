from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headwater.core.monitoring_specs import MonitorSpec, QualitySpec
from headwater.engines.monitoring.alerts import (
    QUALITIES,
    RATES,
    AlertState,
    judges_quality,
    quality_readings,
    readings,
    step,
    threshold_of,
)
from headwater.engines.monitoring.performance import judge_labels, judge_numbers


def run(pattern: str, *, raise_after: int = 2, clear_after: int = 3) -> list[str | None]:
    """Return what each evaluation of ``pattern`` changed; ``x`` is beyond the threshold."""
    state = AlertState()
    changes: list[str | None] = []
    for letter in pattern:
        state, change = step(state, is_beyond=letter == "x", raise_after=raise_after, clear_after=clear_after)
        changes.append(change)
    return changes


def test_an_alert_needs_several_evaluations_in_a_row_to_be_raised_and_to_be_cleared() -> None:
    assert run("x.x.x.") == [None] * 6
    assert run("xx") == [None, "raised"]
    assert run("xx..x...") == [None, "raised", None, None, None, None, None, "cleared"]
    assert run("xxxxx") == [None, "raised", None, None, None]


@pytest.mark.parametrize("after", [0, 1])
def test_one_evaluation_may_be_enough(after: int) -> None:
    assert run("x.", raise_after=after, clear_after=after) == ["raised", "cleared"]


def field(**more: Any) -> dict[str, Any]:
    return {
        "name": "hour", "side": "input", "rows": 1_000, "nulls": 200, "out_of_range": 10,
        "psi": 0.3, "ks": 0.1, "js": None, "chi2_p": 0.5,
    } | more  # fmt: skip


def minute(requests: int, errors: int, p99_ms: float | None) -> dict[str, Any]:
    return {"minute": "2026-01-01T00:00:00Z", "requests": requests, "rows": 1, "errors": errors, "p99_ms": p99_ms}


def test_each_threshold_has_its_reading() -> None:
    monitor = MonitorSpec(psi=0.2, ks=0.2, js=0.1, null_rate=0.1, out_of_range_rate=0.1, error_rate=0.05, p99_ms=10)
    report = {"fields": [field()], "traffic": [minute(100, 50, 5), minute(900, 0, 30), minute(0, 0, None)]}
    found = {reading.key: (reading.value, reading.is_beyond) for reading in readings(report, monitor)}
    assert found == {
        "psi:input:hour": (0.3, True),
        "ks:input:hour": (0.1, False),
        "null_rate:input:hour": (0.2, True),
        "out_of_range_rate:input:hour": (0.01, False),
        "error_rate": (0.05, False),
        "p99_ms": (30, True),
    }


def test_too_few_rows_are_not_judged() -> None:
    report = {"fields": [field(rows=199)], "traffic": [minute(199, 199, 1)]}
    assert readings(report, MonitorSpec()) == []
    assert readings({"fields": [field(rows=0)], "traffic": []}, MonitorSpec(min_rows=0)) == []


def test_what_has_no_threshold_has_no_reading() -> None:
    silent = MonitorSpec(psi=None, null_rate=None, out_of_range_rate=None, error_rate=None)
    assert readings({"fields": [field()], "traffic": [minute(1_000, 900, 9)]}, silent) == []


def known(output: str = "score", outcomes: int = 500, **metrics: float | None) -> dict[str, Any]:
    return {"output": output, "outcomes": outcomes, "metrics": metrics, "others": []}


def test_quality_has_floors_and_ceilings() -> None:
    spec = QualitySpec(min_auc=0.7, min_recall=0.5, max_log_loss=0.6, max_bias=1.0, max_mae=9.0)
    found = {
        one.key: (one.value, one.is_beyond)
        for one in quality_readings(known(auc=0.65, recall=0.5, log_loss=0.61, bias=-1.5, precision=0.1), spec)
    }
    assert found == {
        "auc:output:score": (0.65, True),
        "recall:output:score": (0.5, False),
        "log_loss:output:score": (0.61, True),
        "bias:output:score": (1.5, True),
    }


def test_the_worst_of_a_floor_is_its_least() -> None:
    (floor,) = quality_readings(known(auc=0.6), QualitySpec(min_auc=0.7))
    (ceiling,) = quality_readings(known(mae=6.0), QualitySpec(max_mae=5.0))
    assert (floor.worst(0.5), floor.worst(0.65)) == (0.5, 0.6)
    assert (ceiling.worst(5.0), ceiling.worst(7.0)) == (6.0, 7.0)


def test_outputs_are_judged_each_once_enough_is_known_of_them() -> None:
    performance = known(mae=9.0) | {"others": [known("late", 99, auc=0.1), known("wind", 100, mae=8.0)]}
    keys = [one.key for one in quality_readings(performance, QualitySpec(max_mae=1.0, min_auc=0.5))]
    assert keys == ["mae:output:score", "mae:output:wind"]
    assert quality_readings(None, QualitySpec(max_mae=1.0)) == []
    assert quality_readings(known(auc=None), QualitySpec(min_auc=0.5)) == []


def test_every_threshold_of_quality_bounds_a_metric_that_is_computed() -> None:
    truth = np.array([0.0, 1.0, 1.0, 0.0])
    computed = {
        *judge_numbers(np.array([0.1, 0.9, 0.4, 0.6]), truth).metrics,
        *judge_numbers(np.array([7.0, 9.0, 4.0, 6.0]), truth).metrics,
        *judge_labels(["a"], ["a"]).metrics,
    }
    assert set(QUALITIES) <= computed
    assert not set(QUALITIES) & set(RATES)


def test_thresholds_are_found_by_the_name_of_their_metric() -> None:
    monitor = MonitorSpec(quality=QualitySpec(min_auc=0.7))
    assert threshold_of(monitor, "auc") == 0.7
    assert threshold_of(monitor, "psi") == 0.2
    assert threshold_of(monitor, "window_minutes") is None
    assert threshold_of(monitor, "nonsense") is None
    assert judges_quality(monitor)
    assert not judges_quality(MonitorSpec())
