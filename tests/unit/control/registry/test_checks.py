"""What each check makes of the facts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders.registry import make_content

from headwater.control.registry.demands import CheckResult, check_content
from headwater.engines.models.checking import ArtifactReport

GOLDEN = [{"inputs": {"a": 1.0}, "outputs": {"score": 2.0}, "tolerance": 1e-4}]
FINE = ArtifactReport(size_bytes=3 << 20, latency_us={1: 4_000.0, 100: 9_000.0})


def check(name: str, report: ArtifactReport = FINE, **content: Any) -> CheckResult:
    return next(result for result in check_content(make_content(**content), report) if result.name == name)


@pytest.mark.parametrize(
    ("result", "status", "detail"),
    [
        (check("golden_rows", examples=GOLDEN), "passed", "1 row within tolerance"),
        (check("golden_rows"), "warned", "there are none; give examples with outputs"),
        (
            check(
                "golden_rows",
                ArtifactReport(1, latency_us={1: 1.0}, mismatches=("row 0: score is 3, not 2",)),
                examples=GOLDEN,
            ),
            "failed",
            "row 0: score is 3, not 2",
        ),
        (check("golden_rows", ArtifactReport(0), examples=GOLDEN), "passed", "1 row within tolerance"),
        (check("latency", limits={"max_latency_ms": 5}), "passed", "1 row 4 ms; 100 rows 9 ms; one row may take 5 ms"),
        (check("latency", limits={"max_latency_ms": 3}), "failed", "1 row 4 ms; 100 rows 9 ms; one row may take 3 ms"),
        (check("latency"), "skipped", "1 row 4 ms; 100 rows 9 ms; no checks.max_latency_ms to hold it against"),
        (check("latency", ArtifactReport(1), limits={"max_latency_ms": 5}), "skipped", "it was not run here"),
        (check("size", limits={"max_size_mb": 2}), "failed", "3 MB of 2 MB"),
        (check("size"), "passed", "3 MB"),
        (check("pickle"), "passed", "the artifact holds no pickle"),
        (
            check("pickle", ArtifactReport(1, pickle="it is a pickle")),
            "warned",
            "a pickle runs code when it is loaded: it is a pickle",
        ),
        (check("metrics", limits={"min_metrics": {"auc": 0.7}}, metrics={"auc": 0.71}), "passed", "auc 0.71"),
        (
            check("metrics", limits={"min_metrics": {"auc": 0.7, "f1": 0.5}}, metrics={"auc": 0.6}),
            "failed",
            "auc is 0.6, at least 0.7 is needed; f1 is not given",
        ),
        (check("metrics"), "skipped", "no checks.min_metrics to hold them against"),
        (check("license", license="MIT"), "passed", "MIT"),
        (check("license", license=" "), "failed", "it has no license; add one to model.yaml"),
        (check("training_data", training={"dataset": "flights", "version": 0}), "passed", "flights, table version 0"),
        (
            check("training_data", training={"dataset": "flights"}),
            "failed",
            "which version of flights it was trained on is not given",
        ),
        (check("training_data"), "failed", "training.dataset is not given"),
    ],
)
def test_a_check_says_what_it_found(result: CheckResult, status: str, detail: str) -> None:
    assert (result.status, result.detail) == (status, detail)
