"""The charts of a report as Vega-Lite specifications. They bring their data; names of fields appear as texts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headwater.control.monitoring.bins import bars_of, shown
from headwater.control.monitoring.buckets import bucketed, by_hours, millis, step_text, without_gaps
from headwater.control.monitoring.palette import (
    BAD,
    CALM,
    CURRENT,
    DRIFTED,
    GRID,
    MOVING,
    MUTED,
    REFERENCE,
    SECOND,
    TEXT,
)
from headwater.control.monitoring.report import FieldReport, Report, Window
from headwater.core.monitoring_specs import MonitorSpec

FIELDS_DRAWN: Final = 8
"""Fields with a chart of their own on each side; the table has them all."""
HOURS_DRAWN: Final = 16
"""Fields in the chart of drift over time."""
CALM_PSI: Final = 0.1
WIDTH: Final = 460
HEIGHT: Final = 190
_FONT: Final = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing: its name in the page, what it shows in words, and how it is drawn."""

    name: str
    label: str
    spec: Mapping[str, Any]


def charts_of(report: Report, monitor: MonitorSpec) -> list[Chart]:
    """Return every chart that the report has data for."""
    found: list[Chart] = []
    if report.requests:
        found += [traffic_chart(report), latency_chart(report)]
    for side in ("input", "output"):
        drawn = [field for field in report.side(side) if sum(field.current.share) > 0][:FIELDS_DRAWN]
        found += [field_chart(field, f"{side}-{at}") for at, field in enumerate(drawn)]
    if any(field.series for field in report.fields):
        found.append(drift_chart(report, monitor))
    if report.performance is not None and report.performance.calibration:
        found.append(calibration_chart(report))
    return found


def traffic_chart(report: Report) -> Chart:
    """Return requests over time, those that failed on top."""
    values: list[dict[str, Any]] = []
    for bucket in bucketed(report):
        span = {"from": bucket.since, "to": bucket.until}
        answered = bucket.requests - bucket.errors
        values.append(span | {"low": 0, "high": answered, "kind": "answered"})
        if bucket.errors:
            values.append(span | {"low": answered, "high": bucket.requests, "kind": "failed"})
    spec = {
        "mark": {"type": "rect", "xOffset": 0.5, "x2Offset": -0.5},
        "encoding": {
            "x": _time(report.window),
            "x2": {"field": "to"},
            "y": {
                "field": "high", "type": "quantitative", "title": f"requests per {step_text(report)}",
                "scale": {"zero": True},
            },
            "y2": {"field": "low"},
            "color": _legend({"answered": CURRENT, "failed": BAD}, "kind"),
        },
    }  # fmt: skip
    label = f"Requests over time: {report.requests:,}, of which {report.errors:,} failed"
    return Chart("traffic", label, _chart(spec, values))


def latency_chart(report: Report) -> Chart:
    """Return the median latency and the worst 99th percentile of each stretch of time."""
    values = [
        {"at": (bucket.since + bucket.until) // 2, "ms": value, "kind": kind}
        for bucket in without_gaps(bucketed(report))
        for kind, value in (("median", bucket.p50_ms), ("p99, worst minute", bucket.p99_ms))
    ]
    spec = {
        "mark": {"type": "line", "point": {"size": 18, "filled": True}, "strokeWidth": 1.6},
        "encoding": {
            "x": _time(report.window, "at"),
            "y": {
                "field": "ms",
                "type": "quantitative",
                "title": "latency (ms)",
                "scale": {"zero": True, "nice": True},
            },
            "color": _legend({"median": CURRENT, "p99, worst minute": SECOND}, "kind"),
        },
    }
    worst = max((value["ms"] for value in values if value["ms"] is not None), default=0)
    return Chart("latency", f"Latency over time, at worst {worst:.3g} ms", _chart(spec, values))


def field_chart(field: FieldReport, name: str) -> Chart:
    """Return a field's values beside those of its reference."""
    values = bars_of(field)
    psi = "no reference" if field.psi is None else f"PSI {field.psi:.3g}"
    is_number = field.kind == "number"
    place, offset, amount = ("x", "xOffset", "y") if is_number else ("y", "yOffset", "x")
    spec = {
        "mark": {"type": "bar"},
        "encoding": {
            place: {
                "field": "bin",
                "type": "nominal",
                "sort": None,
                "title": "from this value on" if is_number else None,
                "axis": {"labelAngle": -40, "labelLimit": 70, "grid": False}
                if is_number
                else {"grid": False, "labelLimit": 110},
            },
            offset: {"field": "whose", "sort": ["reference", "now"]},
            amount: {"field": "share", "type": "quantitative", "axis": {"format": ".0%"}, "title": None},
            "color": _legend({"reference": REFERENCE, "now": CURRENT}, "whose"),
        },
    }
    return Chart(name, f"Values of {shown(field.name)} beside the reference, {psi}", _chart(spec, values))


def drift_chart(report: Report, monitor: MonitorSpec) -> Chart:
    """Return the PSI of the fields hour by hour, those that drift most first."""
    hours = 1 if report.window.minutes <= 2 * 24 * 60 else 4
    fields = [field for field in (*report.side("input"), *report.side("output")) if field.series]
    fields = sorted(fields, key=lambda field: -(field.psi or 0.0))[:HOURS_DRAWN]
    first, last = millis(report.window.since), millis(report.window.until)
    values = [
        {
            "from": max(since, first),
            "to": min(since + hours * 3_600_000, last),
            "psi": psi,
            "field": shown(field.name) + (" (output)" if field.side == "output" else ""),
        }
        for field in fields
        for since, psi in by_hours(field, hours).items()
    ]
    threshold = monitor.psi if monitor.psi is not None and monitor.psi > CALM_PSI else 2 * CALM_PSI
    scale = {"type": "threshold", "domain": [CALM_PSI, threshold], "range": [CALM, MOVING, DRIFTED]}
    spec = {
        "mark": {"type": "rect"},
        "height": {"step": 18},
        "encoding": {
            "x": _time(report.window),
            "x2": {"field": "to"},
            "y": {
                "field": "field", "type": "nominal", "sort": None, "title": None,
                "axis": {"grid": False, "labelLimit": 160},
            },
            "color": {
                "field": "psi", "type": "quantitative", "scale": scale,
                "legend": {"title": "PSI", "orient": "top", "direction": "horizontal", "gradientLength": 160},
            },
        },
    }  # fmt: skip
    label = f"PSI of {len(fields)} fields by hour; {CALM_PSI:g} and {threshold:g} are where the colours change"
    return Chart("drift", label, _chart(spec, values))


def calibration_chart(report: Report) -> Chart:
    """Return how often what was predicted came true, by what was predicted."""
    parts = report.performance.calibration if report.performance else ()
    values = [{"predicted": part.predicted, "observed": part.observed, "rows": part.rows} for part in parts]
    unit = {"domain": [0, 1]}
    percent = {"format": ".0%", "values": [0, 0.25, 0.5, 0.75, 1]}
    diagonal = {
        "data": {"values": [{"predicted": 0, "observed": 0}, {"predicted": 1, "observed": 1}]},
        "mark": {"type": "line", "color": MUTED, "strokeDash": [4, 4], "strokeWidth": 1},
        "encoding": {
            "x": {"field": "predicted", "type": "quantitative", "scale": unit, "axis": percent, "title": "predicted"},
            "y": {"field": "observed", "type": "quantitative", "scale": unit, "axis": percent, "title": "came true"},
        },
    }
    points = {
        "mark": {"type": "line", "color": CURRENT, "point": {"filled": True, "size": 40, "color": CURRENT}},
        "encoding": {
            "x": {"field": "predicted", "type": "quantitative"},
            "y": {"field": "observed", "type": "quantitative"},
        },
    }
    return Chart(
        "calibration", "Share that came true by predicted probability", _chart({"layer": [diagonal, points]}, values)
    )


def _chart(spec: Mapping[str, Any], values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "autosize": {"type": "fit", "contains": "padding"} if "step" not in str(spec.get("height")) else "fit-x",
        "background": None,
        "padding": {"left": 12, "top": 4, "right": 12, "bottom": 4},
        "data": {"values": list(values)},
        "config": _CONFIG,
        **spec,
    }


def _time(window: Window, field: str = "from") -> dict[str, Any]:
    pattern = "%H:%M" if window.minutes <= 24 * 60 else "%d %b"
    return {
        "field": field,
        "type": "temporal",
        "scale": {"type": "utc", "domain": [millis(window.since), millis(window.until)], "nice": False},
        "axis": {"format": pattern, "tickCount": 6, "grid": False, "labelOverlap": True},
        "title": "time (UTC)" if window.minutes <= 24 * 60 else None,
    }


def _legend(colours: Mapping[str, str], field: str) -> dict[str, Any]:
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(colours), "range": list(colours.values())},
        "legend": {"title": None, "orient": "top", "direction": "horizontal", "symbolType": "square"},
    }


_CONFIG: Final[dict[str, Any]] = {
    "aria": False,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED, "titleColor": MUTED, "domainColor": GRID, "tickColor": GRID, "gridColor": GRID,
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "titlePadding": 6, "tickCount": 5,
    },
    "legend": {"labelColor": TEXT, "titleColor": TEXT, "labelFontSize": 11, "titleFontSize": 11, "offset": 4},
    "bar": {"discreteBandSize": {"band": 0.85}},
}  # fmt: skip
