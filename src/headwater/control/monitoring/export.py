"""A report to take away: one HTML file that asks nothing of anybody, an image, or the numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from django.contrib.staticfiles import finders
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from headwater.control.monitoring.drawing import RENDERER
from headwater.control.monitoring.models import ModelAlert
from headwater.control.monitoring.page import decimal, difference, report_context, said, share
from headwater.control.monitoring.poster import poster
from headwater.control.monitoring.queries import ReportView
from headwater.core.errors import HeadwaterError
from headwater.engines.charts.renderer import ChartFailed

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""What the file may do wherever it is opened: show itself."""
_STYLES: Final = ("headwater/theme.css", "headwater/admin.css", "headwater/report.css")
_DARK: Final = re.compile(r"^\.dark \{(.*?)^\}", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Export:
    """A report as a file."""

    content: bytes
    media_type: str
    suffix: str


def export_report(view: ReportView, form: str) -> Export:
    """Return a report as ``html``, ``png`` or ``json``.

    Raises:
        HeadwaterError: ``services_unavailable`` or what services say, for ``json`` without a report;
            ``rendering_unavailable`` when the image cannot be drawn; ``not_found`` for another form.
    """
    write = _WRITERS.get(form)
    if write is None:
        raise HeadwaterError("not_found", f"there is no report as {form[:20]!r}", hint=f"one of: {', '.join(_WRITERS)}")
    return write(view)


def respond(view: ReportView, form: str) -> HttpResponse:
    """Return a report as a download."""
    export = export_report(view, form)
    response = HttpResponse(export.content, content_type=export.media_type)
    name = f"{view.model.name}-v{view.version.number}-{view.environment.key}-{view.window}.{export.suffix}"
    how = "inline" if form == "json" else "attachment"
    response.headers["Content-Disposition"] = f'{how}; filename="{name}"'
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-store"
    return response


def body_context(view: ReportView, *, standalone: bool) -> dict[str, Any]:
    """Return what the body of a report needs, on a page or in a file of its own."""
    context = report_context(view)
    shadow = view.report.shadow if view.report is not None else None
    return context | {
        "standalone": standalone,
        "agreement": share(shadow.agreement if shadow else None),
        "shadow_facts": {
            "mean": decimal(shadow.mean_abs_diff if shadow else None),
            "most": decimal(shadow.max_abs_diff if shadow else None),
        },
        "disagreements": [
            {
                "id": one.prediction_id,
                "served": said(one.served),
                "shadow": said(one.shadow),
                "difference": difference(one.served, one.shadow),
            }
            for one in (shadow.disagreements if shadow else ())
        ],
    }


def _html(view: ReportView) -> Export:
    context = body_context(view, standalone=True) | {"style": _style(), "now": timezone.now()}
    text = render_to_string("monitoring/export.html", context)
    return Export(text.encode(), "text/html; charset=utf-8", "html")


def _png(view: ReportView) -> Export:
    try:
        image = RENDERER.rasterize(poster(report_context(view)), scale=1.5)
    except ChartFailed as error:
        raise HeadwaterError(
            "rendering_unavailable", f"the image could not be drawn: {error}", hint="try again, or ask for HTML or JSON"
        ) from error
    return Export(image, "image/png", "png")


def _json(view: ReportView) -> Export:
    return Export(json.dumps(document(view), ensure_ascii=False).encode(), "application/json", "json")


def document(view: ReportView) -> dict[str, Any]:
    """Return a report with its alerts as JSON has it.

    Raises:
        HeadwaterError: there is no report: ``services_unavailable``, or ``conflict`` where the version is unknown to
            the services.
    """
    if view.report is None:
        if view.is_away:
            raise HeadwaterError("services_unavailable", view.problem, hint="check that the services run")
        raise HeadwaterError(
            "conflict",
            f"the services have no report of {view.version} in {view.environment.key}: {view.problem}",
            hint="promote the version there, or try it as a canary or shadow",
        )
    return {
        **view.report.plain(),
        "environment": view.environment.key,
        "role": view.role or None,
        "thresholds": view.monitor.model_dump(mode="json"),
        "alerts": [show_alert(alert) for alert in view.alerts],
        "history": [show_alert(alert) for alert in view.history],
        "judged_at": view.judged_at.isoformat() if view.judged_at else None,
        "problem": (view.watch.problem or None) if view.watch else None,
    }


def show_alert(alert: ModelAlert) -> dict[str, Any]:
    """Return an alert as JSON has it."""
    return {
        "id": alert.public_id,
        "model": alert.version.model.name,
        "version": alert.version.number,
        "environment": alert.environment.key,
        "metric": alert.metric,
        "side": alert.side or None,
        "field": alert.field or None,
        "state": "raised" if alert.stands else "cleared",
        "value": alert.value,
        "latest": alert.latest,
        "worst": alert.worst,
        "threshold": alert.threshold,
        "since": alert.since.isoformat(),
        "raised_at": alert.raised_at.isoformat(),
        "judged_at": alert.judged_at.isoformat(),
        "cleared_at": alert.cleared_at.isoformat() if alert.cleared_at else None,
        "cleared_because": alert.cleared_because,
        "rows": alert.evidence,
    }


def _style() -> str:
    """Return the styles of the admin's pages, dark where the reader's system is: there is no switch in a file."""
    texts = []
    for name in _STYLES:
        found = finders.find(name)
        if isinstance(found, str):
            text = Path(found).read_text(encoding="utf-8")
            texts.append(_DARK.sub(lambda dark: f"@media (prefers-color-scheme: dark) {{ :root {{{dark[1]}}} }}", text))
    return "\n".join(texts)


_WRITERS: Final[Mapping[str, Callable[[ReportView], Export]]] = MappingProxyType(
    {"html": _html, "png": _png, "json": _json}
)
