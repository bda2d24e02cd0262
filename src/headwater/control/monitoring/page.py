"""What the report of a version shows, on its page and in its exports alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from headwater.control.monitoring.charts import CALM_PSI, FIELDS_DRAWN, charts_of
from headwater.control.monitoring.drawing import Drawing, draw
from headwater.control.monitoring.models import FLOORS, NAMES
from headwater.control.monitoring.queries import ReportView
from headwater.control.monitoring.report import FieldReport, Performance, Report, Side, Skew
from headwater.core.monitoring_specs import MonitorSpec
from headwater.engines.monitoring.alerts import QUALITIES, RATES, judges_quality, threshold_of

_TONES = {"drifted": "bad", "moving": "warn", "calm": "good"}
NOTHING: Final = "\N{EN DASH}"
_ACRONYMS: Final = frozenset({"auc", "f1", "mae", "mape", "mse", "pr", "r2", "rmse", "roc"})
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class FieldLine:
    """A field with its distances, as people read them."""

    field: FieldReport
    state: str
    drawing: Drawing | None

    @property
    def tone(self) -> str:
        """Return how the state is coloured."""
        return _TONES.get(self.state, "")

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """Return the distances by name."""
        field = self.field
        return [
            ("PSI", decimal(field.psi)),
            ("KS", decimal(field.ks)),
            ("JS", decimal(field.js)),
            ("p", chance(field.chi2_p)),
        ]

    @property
    def nulls(self) -> str:
        """Return the share of nulls."""
        return share(self.field.null_rate)

    @property
    def out_of_range(self) -> str:
        """Return the share out of range."""
        return share(self.field.out_of_range_rate)

    @property
    def middle(self) -> str:
        """Return the mean, before and now; of a text, how many different ones there are."""
        field = self.field
        if field.kind == "category":
            return f"{field.distinct:,} values" if field.distinct is not None else NOTHING
        return f"{decimal(field.reference.mean)} → {decimal(field.current.mean)}"


@dataclass(frozen=True, slots=True)
class SideBlock:
    """The inputs, or the outputs."""

    side: Side
    title: str
    lines: list[FieldLine]

    @property
    def drawn(self) -> list[FieldLine]:
        """Return the fields with a drawing."""
        return [line for line in self.lines if line.drawing is not None]

    @property
    def is_cut(self) -> bool:
        """Return whether there are fields without one for want of space."""
        return len(self.lines) > FIELDS_DRAWN


def report_context(view: ReportView) -> dict[str, Any]:
    """Return what the templates of a report show."""
    report = view.report
    drawings = draw(charts_of(report, view.monitor)) if report is not None else {}
    return {
        "view": view,
        "report": report,
        "tiles": tiles(view),
        "drawings": drawings,
        "failed_drawings": next((one.problem for one in drawings.values() if one.problem), ""),
        "blocks": blocks(report, view.monitor, drawings) if report is not None else [],
        "codes": sorted(report.by_code.items(), key=lambda item: -item[1]) if report is not None else [],
        "quality": quality(report.performance) if report is not None and report.performance is not None else None,
        "thresholds": thresholds(view.monitor),
        "skew": skew_lines(report.skew) if report is not None and report.skew is not None else [],
    }


def tiles(view: ReportView) -> list[tuple[str, str, str, bool]]:
    """Return the figures at the top: name, value, a remark, and whether it is a bad sign."""
    report = view.report
    alerts = ("Alerts", f"{len(view.alerts)}", "that stand", bool(view.alerts))
    if report is None:
        return [alerts]
    rate = report.errors / report.requests if report.requests else None
    limit = view.monitor.error_rate
    slow = [minute.p99_ms for minute in report.traffic if minute.p99_ms is not None]
    drifted = [field.name for field in report.fields if field_state(field, view.monitor) == "drifted"]
    return [
        alerts,
        ("Requests", f"{report.requests:,}", f"{report.rows:,} row{'s' * (report.rows != 1)}", False),
        (
            "Failed",
            share(rate),
            f"{report.errors:,} request{'s' * (report.errors != 1)}",
            rate is not None and limit is not None and rate > limit,
        ),
        ("p99", f"{sorted(slow)[len(slow) // 2]:.3g} ms" if slow else NOTHING, "typical minute", False),
        ("Drifted fields", f"{len(drifted)}", f"of {len(report.fields)}", bool(drifted)),
    ]


def blocks(report: Report, monitor: MonitorSpec, drawings: Mapping[str, Drawing]) -> list[SideBlock]:
    """Return the fields of both sides, those that drifted most first."""
    found = []
    for side, title in (("input", "Inputs"), ("output", "Outputs")):
        fields = report.side(side)  # type: ignore[arg-type]  # one of the two
        drawn = iter([drawings[name] for name in drawings if name.startswith(f"{side}-")])
        lines = [
            FieldLine(field, field_state(field, monitor), next(drawn, None) if sum(field.current.share) > 0 else None)
            for field in fields
        ]
        found.append(SideBlock(side, title, lines))  # type: ignore[arg-type]  # as above
    return found


def field_state(field: FieldReport, monitor: MonitorSpec) -> str:
    """Return whether a field is calm, moving or drifted; empty where it cannot be said."""
    if field.psi is None:
        return ""
    limit = monitor.psi if monitor.psi is not None else 2 * CALM_PSI
    beyond = (
        field.psi > limit
        or (monitor.ks is not None and (field.ks or 0.0) > monitor.ks)
        or (monitor.js is not None and (field.js or 0.0) > monitor.js)
    )
    return "drifted" if beyond else "moving" if field.psi > CALM_PSI else "calm"


def quality(performance: Performance) -> dict[str, Any]:
    """Return how good the predictions were, as people read it."""
    return {
        "performance": performance,
        "metrics": [(metric_name(name), decimal(value)) for name, value in performance.metrics.items()],
        "delay": span(performance.label_delay_seconds),
        "slow_delay": span(performance.label_delay_p90_seconds),
        "others": [
            (other, [(metric_name(name), decimal(value)) for name, value in other.metrics.items()])
            for other in performance.others
        ],
    }


def skew_lines(skew: Skew) -> list[dict[str, Any]]:
    """Return each feature of a check as a line, those that differ most often first."""
    return [
        {
            "name": f"{one.view}.{one.feature}",
            "compared": one.compared,
            "differing": one.differing,
            "share": share(one.differing / one.compared if one.compared else None),
            "most": decimal(one.max_abs_diff),
            "example": next(
                (
                    (example.prediction_id, said(example.served), said(example.history), example.as_of)
                    for example in one.examples
                ),
                None,
            ),
        }
        for one in sorted(skew.features, key=lambda one: (-one.differing, one.view, one.feature))
    ]


def thresholds(monitor: MonitorSpec) -> str:
    """Return what versions are held against, in one sentence."""
    limits = [f"{NAMES[name]} {value:g}" for name in RATES if (value := threshold_of(monitor, name)) is not None]
    if not limits and not judges_quality(monitor):
        return "Nothing is judged: every threshold under serving.monitor is null."
    return (f"{_rates(monitor, limits)} {_qualities(monitor)}").strip()


def _qualities(monitor: MonitorSpec) -> str:
    spec = monitor.quality
    limits = [
        f"{NAMES[name]} {'at least' if name in FLOORS else 'at most'} {value:g}"
        for name in QUALITIES
        if (value := threshold_of(monitor, name)) is not None
    ]
    if not limits:
        return ""
    settled = f" older than {spec.settle_minutes} minutes" if spec.settle_minutes else ""
    return (
        f"Quality is judged every ten minutes over the predictions of {spec.window_hours} hours{settled}, "
        f"with at least {spec.min_outcomes} outcomes: {', '.join(limits)}."
    )


def _rates(monitor: MonitorSpec, limits: list[str]) -> str:
    if not limits:
        return ""
    return (
        f"Judged over {monitor.window_minutes} minutes with at least {monitor.min_rows} rows: {', '.join(limits)}. "
        f"Raised after {monitor.raise_after} in a row beyond, cleared after {monitor.clear_after} within; "
        "a version is judged every half minute."
    )


def metric_name(name: str) -> str:
    """Return the name of a metric for people."""
    return " ".join(word.upper() if word in _ACRONYMS else word for word in name.split("_"))


def difference(one: Any, other: Any) -> str:
    """Return by how much the second number is more, with its sign; of what is no number, nothing."""
    both = isinstance(one, int | float) and isinstance(other, int | float)
    return f"{other - one:+.3g}" if both else NOTHING


def said(value: Any) -> str:
    """Return what a model said: numbers with six digits that count."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def decimal(value: float | None) -> str:
    """Return a number with three digits that count, and all of a large one."""
    large = 1_000
    return NOTHING if value is None else f"{value:,.0f}" if abs(value) >= large else f"{value:.3g}"


def chance(value: float | None) -> str:
    """Return a probability; very small ones all alike."""
    least = 0.001
    return NOTHING if value is None else f"<{least}" if value < least else f"{value:.3f}"


def share(value: float | None) -> str:
    """Return a share in percent."""
    return NOTHING if value is None else f"{value * 100:.3g} %"


def span(seconds: float | None) -> str:
    """Return a length of time in its largest fitting unit."""
    if seconds is None:
        return NOTHING
    for unit, name in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} seconds"
