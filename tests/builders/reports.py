"""Reports as services answer them: a version with traffic, drift, outcomes and a shadow."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

EDGES = [0.0, 2.0, 4.5, 7.0, 9.25, 11.0, 13.0, 16.0, 18.5, 21.0, 23.5]
EVEN = [0.0, *[0.1] * 10, 0.0]
SHIFTED = [0.0, 0.02, 0.02, 0.03, 0.05, 0.08, 0.1, 0.1, 0.15, 0.2, 0.2, 0.05]


def instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def number(
    name: str, *, side: str = "input", psi: float | None = 0.02, shares: Any = None, **more: Any
) -> dict[str, Any]:
    """Return a field of numbers; ``psi`` None is a field without values."""
    found = list(shares or (EVEN if (psi or 0) < 0.1 else SHIFTED))
    return {
        "name": name, "side": side, "kind": "number", "rows": 1_000, "nulls": 10, "out_of_range": 0, "distinct": 40,
        "reference": {"bins": EDGES, "share": EVEN, "rows": 500, "mean": 11.0, "std": 4.0, "min": 0.0, "max": 23.0},
        "current": {"share": found if psi is not None else [0.0] * 12, "mean": 14.0, "std": 4.0, "min": 1, "max": 26},
        "psi": psi, "ks": None if psi is None else psi / 3, "js": None if psi is None else min(1.0, psi / 2),
        "chi2_p": None if psi is None else math.exp(-50 * psi), "series": [],
    } | more  # fmt: skip


def category(name: str, *, psi: float = 0.01, **more: Any) -> dict[str, Any]:
    """Return a field of texts."""
    return {
        "name": name, "side": "input", "kind": "category", "rows": 1_000, "nulls": 0, "out_of_range": 0, "distinct": 3,
        "reference": {"categories": ["UA", "B6", "O'Hare"], "share": [0.4, 0.3, 0.2, 0.1], "rows": 500},
        "current": {"share": [0.2, 0.3, 0.4, 0.1]},
        "psi": psi, "ks": None, "js": psi / 2, "chi2_p": 0.4, "series": [],
    } | more  # fmt: skip


def report(*fields: dict[str, Any], minutes: int = 60, errors: int = 0, **more: Any) -> dict[str, Any]:
    """Return the report of ``delay`` version 1; ten requests a minute, of which ``errors`` failed."""
    until = datetime.now(UTC).replace(second=0, microsecond=0)
    since = until - timedelta(minutes=minutes)
    step = max(1, minutes // 120)
    traffic = [
        {
            "minute": instant(since + timedelta(minutes=at)), "minutes": step, "requests": 10 * step, "rows": 30 * step,
            "errors": errors * step, "p50_ms": 1.0 + at / minutes, "p99_ms": 4.0,
        }
        for at in range(0, minutes, step)
    ]  # fmt: skip
    hours = [
        {"hour": instant((since + timedelta(hours=at)).replace(minute=0)), "psi": 0.05 * at, "rows": 600}
        for at in range(minutes // 60)
    ]
    return {
        "model": "delay", "version": 1,
        "window": {"from": instant(since), "to": instant(until), "minutes": minutes},
        "traffic": traffic, "by_code": {"input_invalid": errors} if errors else {}, "by_route": {"champion": 600},
        "fields": [{**field, "series": hours if field["psi"] is not None else []} for field in fields],
        "reference_source": "training" if fields else "none", "performance": None, "shadow": None,
    } | more  # fmt: skip


def performance(**more: Any) -> dict[str, Any]:
    """Return the quality of a probability."""
    return {
        "output": "score", "kind": "probability", "outcomes": 1_204, "label_delay_seconds": 5_400.0,
        "label_delay_p90_seconds": 10_800.0, "metrics": {"auc": 0.7123, "log_loss": 0.51, "precision": None},
        "calibration": [
            {"from": at / 10, "to": (at + 1) / 10, "rows": 100, "predicted": at / 10 + 0.05, "observed": at / 11}
            for at in range(10)
        ],
        "others": [], "unmatched": 0,
    } | more  # fmt: skip


def shadow(**more: Any) -> dict[str, Any]:
    """Return the comparison of a shadow with version 2."""
    return {
        "of_version": 2, "output": "score", "pairs": 500, "agreement": 0.943, "mean_abs_diff": 0.031,
        "max_abs_diff": 0.41, "disagreements": [{"prediction_id": "pred_1", "served": 0.6, "shadow": 0.4}],
    } | more  # fmt: skip


def nothing(**more: Any) -> dict[str, Any]:
    """Return the report of a version that nobody has asked yet."""
    return report() | {"traffic": [], "by_code": {}, "by_route": {}} | more


FULL = report(
    number("distance"),
    number("hour", psi=0.6),
    number("never", psi=None),
    category("carrier", psi=0.15),
    number("score", side="output", psi=0.3),
    errors=1,
    performance=performance(),
    shadow=shadow(),
)
"""A report with everything in it."""
