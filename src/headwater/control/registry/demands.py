"""What a version must show before it may be approved, but for what its callers must find again (``checks``).

Each check gives one result. They are made of facts that were found elsewhere: loading and running an artifact is the
engine's business. Nothing here needs the database, so that the command line can check a directory alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from headwater.control.registry.content import VersionContent
    from headwater.engines.models.checking import ArtifactReport

Status = Literal["passed", "failed", "warned", "skipped"]
OWN_DEMANDS: Final = frozenset({"golden_rows", "latency", "size", "metrics"})
"""What the author of a version asked of it. While one of these fails, the version takes no traffic by itself."""
_LISTED: Final = 5
_MEGABYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    name: str
    status: Status
    detail: str = ""


def check_content(content: VersionContent, report: ArtifactReport) -> list[CheckResult]:
    """Return what can be said of a version before it is registered: all but its signature's parity."""
    return [
        _golden_rows(content, report),
        _latency(content.limits, report),
        _size(content.limits, report),
        _pickle(report),
        _metrics(content.limits, content.metrics),
        _license(content),
        _training(content.training),
    ]


def _golden_rows(content: VersionContent, report: ArtifactReport) -> CheckResult:
    name = "golden_rows"
    expected = sum(1 for example in content.examples if example.get("outputs"))
    if report.mismatches:
        return CheckResult(name, "failed", listed(report.mismatches))
    if not expected:
        return CheckResult(name, "warned", "there are none; give examples with outputs")
    return CheckResult(name, "passed", f"{expected} {'row' if expected == 1 else 'rows'} within tolerance")


def _latency(limits: Mapping[str, Any], report: ArtifactReport) -> CheckResult:
    name, limit = "latency", limits.get("max_latency_ms")
    if report.latency_us is None:
        return CheckResult(name, "skipped", "it was not run here")
    measured = report.latency_us.items()
    shown = "; ".join(f"{rows} {'row' if rows == 1 else 'rows'} {micros / 1000:.3g} ms" for rows, micros in measured)
    if limit is None:
        return CheckResult(name, "skipped", f"{shown}; no checks.max_latency_ms to hold it against")
    one = report.latency_us[1] / 1000
    return CheckResult(name, "passed" if one <= limit else "failed", f"{shown}; one row may take {limit:g} ms")


def _size(limits: Mapping[str, Any], report: ArtifactReport) -> CheckResult:
    size, limit = report.size_bytes / _MEGABYTE, limits.get("max_size_mb")
    if limit is None:
        return CheckResult("size", "passed", f"{size:.3g} MB")
    return CheckResult("size", "passed" if size <= limit else "failed", f"{size:.3g} MB of {limit:g} MB")


def _pickle(report: ArtifactReport) -> CheckResult:
    if report.pickle is not None:
        return CheckResult("pickle", "warned", f"a pickle runs code when it is loaded: {report.pickle}")
    return CheckResult("pickle", "passed", "the artifact holds no pickle")


def _metrics(limits: Mapping[str, Any], metrics: Mapping[str, float]) -> CheckResult:
    wanted: Mapping[str, float] = limits.get("min_metrics") or {}
    if not wanted:
        return CheckResult("metrics", "skipped", "no checks.min_metrics to hold them against")
    short = [
        f"{name} is {metrics[name]:g}, at least {least:g} is needed" if name in metrics else f"{name} is not given"
        for name, least in wanted.items()
        if metrics.get(name, float("-inf")) < least
    ]
    if short:
        return CheckResult("metrics", "failed", listed(short))
    return CheckResult("metrics", "passed", "; ".join(f"{name} {metrics[name]:g}" for name in wanted))


def _license(content: VersionContent) -> CheckResult:
    if content.license.strip():
        return CheckResult("license", "passed", content.license)
    return CheckResult("license", "failed", "it has no license; add one to model.yaml")


def _training(training: Mapping[str, Any]) -> CheckResult:
    name, dataset, version = "training_data", training.get("dataset"), training.get("version")
    if not dataset:
        return CheckResult(name, "failed", "training.dataset is not given")
    if version is None:
        return CheckResult(name, "failed", f"which version of {dataset} it was trained on is not given")
    return CheckResult(name, "passed", f"{dataset}, table version {version}")


def listed(items: Sequence[str]) -> str:
    """Return the first of ``items`` on one line, and how many more there are."""
    more = f"; and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return "; ".join(items[:_LISTED]) + more
