"""The charts of a report as Vega-Lite specifications. They bring their data; names of fields appear as texts only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

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
from headwater.control.monitoring.report import FieldReport, Report, Traffic, Window
from headwater.core.snapshot import MonitorSpec

FIELDS_DRAWN: Final = 12
"""Fields with a chart of their own on each side; the table has them all."""
HOURS_DRAWN: Final = 16
"""Fields in the chart of drift over time."""
CATEGORIES_DRAWN: Final = 8
CALM_PSI: Final = 0.1
WIDTH: Final = 460
HEIGHT: Final = 190
BUCKETS: Final = 60
_HOUR: Final = timedelta(hours=1)
_FONT: Final = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_STEPS_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440)


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
                "field": "high", "type": "quantitative", "title": f"requests per {_step_text(report)}",
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
        for bucket in _without_gaps(bucketed(report))
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
    values = _number_bars(field) if field.kind == "number" else _category_bars(field)
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
    return Chart(name, f"Values of {_shown(field.name)} beside the reference, {psi}", _chart(spec, values))


def drift_chart(report: Report, monitor: MonitorSpec) -> Chart:
    """Return the PSI of the fields hour by hour, those that drift most first."""
    hours = 1 if report.window.minutes <= 2 * 24 * 60 else 4
    fields = [field for field in (*report.side("input"), *report.side("output")) if field.series]
    fields = sorted(fields, key=lambda field: -(field.psi or 0.0))[:HOURS_DRAWN]
    first, last = _millis(report.window.since), _millis(report.window.until)
    values = [
        {"from": max(since, first), "to": min(since + hours * 3_600_000, last), "psi": psi, "field": _labelled(field)}
        for field in fields
        for since, psi in _by_hours(field, hours).items()
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
                "axis": {"grid": False, "labelLimit": 130},
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


def printable(text: str) -> str:
    """Return a text without what XML does not take and what cannot be seen."""
    return _UNPRINTABLE.sub("�", text)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Traffic of a stretch of time; instants are milliseconds of the epoch."""

    since: int
    until: int
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


def bucketed(report: Report) -> list[Bucket]:
    """Return the traffic in at most about ``BUCKETS`` stretches of one length."""
    step = _step(report) * 60_000
    groups: dict[int, list[Traffic]] = {}
    for minute in report.traffic:
        groups.setdefault(_millis(minute.minute) // step * step, []).append(minute)
    return [_bucket(since, step, group) for since, group in sorted(groups.items())]


def _without_gaps(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Return the buckets with an empty one after each that the next does not follow on, where lines break off."""
    found: list[Bucket] = []
    for bucket, following in zip(buckets, [*buckets[1:], None], strict=True):
        found.append(bucket)
        if following is not None and following.since > bucket.until:
            length = bucket.until - bucket.since
            found.append(Bucket(bucket.until, bucket.until + length, 0, 0, None, None))
    return found


def _bucket(since: int, step: int, group: Sequence[Traffic]) -> Bucket:
    requests = sum(minute.requests for minute in group)
    timed = [minute for minute in group if minute.p50_ms is not None and minute.requests]
    weight = sum(minute.requests for minute in timed)
    p50 = sum((minute.p50_ms or 0.0) * minute.requests for minute in timed) / weight if weight else None
    p99 = max((minute.p99_ms for minute in group if minute.p99_ms is not None), default=None)
    return Bucket(since, since + step, requests, sum(minute.errors for minute in group), p50, p99)


def _step(report: Report) -> int:
    """Return the length of a bucket in minutes: not shorter than what services count by."""
    least = max((minute.minutes for minute in report.traffic), default=1)
    fitting = (step for step in _STEPS_MINUTES if step >= least and report.window.minutes / step <= BUCKETS)
    return next(fitting, _STEPS_MINUTES[-1])


def _step_text(report: Report) -> str:
    step = _step(report)
    if step == 1:
        return "minute"
    return f"{step} minutes" if step < 60 else "hour" if step == 60 else f"{step // 60} hours"  # noqa: PLR2004 - an hour


def _number_bars(field: FieldReport) -> list[dict[str, Any]]:
    edges = field.reference.bins
    names = [f"<{edges[0]:.4g}" if edges else "any", *(f"{edge:.4g}" for edge in edges)]
    if edges:
        names[-1] = f">{field.reference.max:.4g}" if field.reference.max is not None else f"≥{edges[-1]:.4g}"
    # Bins that read the same are two all the same.
    names = [name + "\N{ZERO WIDTH SPACE}" * names[:at].count(name) for at, name in enumerate(names)]
    return _pairs(names, field.reference.share, field.current.share)


def _category_bars(field: FieldReport) -> list[dict[str, Any]]:
    names = [*(_shown(name) for name in field.reference.categories), "others"]
    pairs = list(_padded(names, field.reference.share, field.current.share))
    ranked = sorted(pairs[:-1], key=lambda pair: -max(pair[1:]))
    kept = ranked[: CATEGORIES_DRAWN - 1] if len(ranked) >= CATEGORIES_DRAWN else ranked
    rest = [*ranked[len(kept) :], *pairs[-1:]]
    others = ("others", sum(pair[1] for pair in rest), sum(pair[2] for pair in rest))
    shown = [*kept, *([others] if others[1] or others[2] else [])]
    return _pairs([pair[0] for pair in shown], [pair[1] for pair in shown], [pair[2] for pair in shown])


def _padded(
    names: Sequence[str], reference: Sequence[float], current: Sequence[float]
) -> list[tuple[str, float, float]]:
    def at(shares: Sequence[float], place: int) -> float:
        return shares[place] if place < len(shares) else 0.0

    return [(name, at(reference, place), at(current, place)) for place, name in enumerate(names)]


def _pairs(names: Sequence[str], reference: Sequence[float], current: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"bin": name, "share": share, "whose": whose}
        for name, expected, found in _padded(names, reference, current)
        for whose, share in (("reference", expected), ("now", found))
    ]


def _by_hours(field: FieldReport, hours: int) -> dict[int, float]:
    """Return the worst PSI of each stretch of so many hours."""
    step = hours * 3_600_000
    worst: dict[int, float] = {}
    for hour in field.series:
        if hour.psi is not None:
            since = _millis(hour.hour) // step * step
            worst[since] = max(worst.get(since, 0.0), hour.psi)
    return worst


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
        "scale": {"type": "utc", "domain": [_millis(window.since), _millis(window.until)], "nice": False},
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


def _labelled(field: FieldReport) -> str:
    return _shown(field.name) + (" (output)" if field.side == "output" else "")


def _shown(text: str) -> str:
    """Return a text from outside as it may stand in a drawing."""
    return printable(text)[:80] or "(empty)"


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1_000)


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
