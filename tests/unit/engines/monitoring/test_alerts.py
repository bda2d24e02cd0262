from __future__ import annotations

from typing import Any

import pytest

from headwater.core.snapshot import MonitorSpec
from headwater.engines.monitoring.alerts import AlertState, readings, step


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
