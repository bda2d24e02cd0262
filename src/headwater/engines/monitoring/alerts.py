"""When a model's numbers become an alert: thresholds, and hysteresis so that one bad minute does not ring.

Pure functions over plain values: whoever keeps the states decides where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from headwater.core.monitoring_specs import MonitorSpec, QualitySpec

DISTANCES: Final = ("psi", "ks", "js")
RATES: Final = (*DISTANCES, "null_rate", "out_of_range_rate", "error_rate", "p99_ms")
QUALITIES: Final = {
    name.partition("_")[2]: name
    for name in QualitySpec.model_fields
    if name.startswith(("min_", "max_")) and name != "min_outcomes"
}
"""The member of ``QualitySpec`` that bounds a metric of quality."""
Change = Literal["raised", "cleared"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One number held against its threshold, which is a ceiling, or with ``is_floor`` a floor.

    ``field`` and ``side`` are None for what the version as a whole does.
    """

    metric: str
    value: float
    threshold: float
    field: str | None = None
    side: str | None = None
    is_floor: bool = False

    @property
    def key(self) -> str:
        """Return what names the alert: ``psi:input:hour``, ``error_rate``."""
        return self.metric if self.field is None else f"{self.metric}:{self.side}:{self.field}"

    @property
    def is_beyond(self) -> bool:
        """Return whether the threshold is passed."""
        return self.value < self.threshold if self.is_floor else self.value > self.threshold

    def worst(self, other: float) -> float:
        """Return the worse of its value and another one."""
        return min(self.value, other) if self.is_floor else max(self.value, other)


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where an alert stands: raised or not, and how many evaluations in a row said otherwise."""

    is_raised: bool = False
    streak: int = 0


def step(state: AlertState, *, is_beyond: bool, raise_after: int, clear_after: int) -> tuple[AlertState, Change | None]:
    """Return the state after an evaluation, and the change if there was one.

    An alert is raised by ``raise_after`` evaluations beyond the threshold in a row, and cleared by ``clear_after``
    within it.
    """
    if is_beyond == state.is_raised:
        return AlertState(state.is_raised), None
    streak = state.streak + 1
    if streak < max(1, clear_after if state.is_raised else raise_after):
        return AlertState(state.is_raised, streak), None
    return AlertState(not state.is_raised), "cleared" if state.is_raised else "raised"


def readings(report: Mapping[str, Any], monitor: MonitorSpec) -> list[Reading]:
    """Return every number of a version's report that has a threshold, within it or not.

    Fields with fewer than ``min_rows`` rows, and traffic of fewer requests, are not judged: they have no reading, and
    their alerts stay as they are.

    Args:
        report: as ``GET /internal/v1/models/{environment}/{model}/{version}/report`` answers.
        monitor: the thresholds; None of one means that it is not judged.
    """
    found = [reading for field in report["fields"] for reading in _of_field(field, monitor)]
    return [*found, *_of_traffic(report["traffic"], monitor)]


def _of_field(field: Mapping[str, Any], monitor: MonitorSpec) -> Iterator[Reading]:
    rows = field["rows"]
    if rows < max(monitor.min_rows, 1):
        return
    values = {name: field[name] for name in DISTANCES}
    values["null_rate"] = field["nulls"] / rows
    values["out_of_range_rate"] = field["out_of_range"] / rows
    for metric, value in values.items():
        threshold = getattr(monitor, metric)
        if threshold is not None and value is not None:
            yield Reading(metric, value, threshold, field["name"], field["side"])


def _of_traffic(traffic: list[Mapping[str, Any]], monitor: MonitorSpec) -> Iterator[Reading]:
    requests = sum(minute["requests"] for minute in traffic)
    errors = sum(minute["errors"] for minute in traffic)
    if requests < max(monitor.min_rows, 1):
        return
    if monitor.error_rate is not None:
        yield Reading("error_rate", errors / requests, monitor.error_rate)
    slowest = [minute["p99_ms"] for minute in traffic if minute["p99_ms"] is not None]
    if monitor.p99_ms is not None and slowest:
        yield Reading("p99_ms", sorted(slowest)[len(slowest) // 2], monitor.p99_ms)


def quality_readings(performance: Mapping[str, Any] | None, quality: QualitySpec) -> list[Reading]:
    """Return every metric of quality that has a threshold, for each output that enough is known of.

    Args:
        performance: as a report's ``performance``, of the predictions that ``quality`` says.
        quality: the thresholds.
    """
    if performance is None:
        return []
    judged = [performance, *performance.get("others", ())]
    return [
        reading
        for output in judged
        if output["outcomes"] >= max(quality.min_outcomes, 1)
        for reading in _of_output(output, quality)
    ]


def threshold_of(monitor: MonitorSpec, metric: str) -> float | None:
    """Return the threshold of a metric; None where it has none, or there is no such metric."""
    found: float | None
    if metric in QUALITIES:
        found = getattr(monitor.quality, QUALITIES[metric])
    else:
        found = getattr(monitor, metric) if metric in RATES else None
    return found


def judges_quality(monitor: MonitorSpec) -> bool:
    """Return whether any metric of quality has a threshold."""
    return any(threshold_of(monitor, metric) is not None for metric in QUALITIES)


def _of_output(output: Mapping[str, Any], quality: QualitySpec) -> Iterator[Reading]:
    for metric, member in QUALITIES.items():
        threshold, value = getattr(quality, member), output["metrics"].get(metric)
        if threshold is not None and value is not None:
            shown = abs(value) if metric == "bias" else value
            yield Reading(metric, shown, threshold, output["output"], "output", is_floor=member.startswith("min_"))
