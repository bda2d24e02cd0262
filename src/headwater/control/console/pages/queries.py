"""Queries: which endpoints took most time in a day, and which single queries took longest."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse

from headwater.control.catalog.data_plane import connect
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.core.errors import HeadwaterError


@page("queries/", name="queries", permission="audit.read", entry=Entry("Queries", "clock", "Data", order=60))
def queries(request: HttpRequest, here: Place) -> HttpResponse:
    """Show what the query log says of a day."""
    today = datetime.now(UTC).date()
    day = _day(request.GET.get("day", ""), today)
    report: dict[str, Any] = {"endpoints": [], "slowest": []}
    away = ""
    try:
        with connect() as services:
            report = services.query_report(here.env.public_id, day)
    except HeadwaterError as error:
        away = error.detail
    slowest = [{**one, "at": datetime.fromisoformat(one["answered_at"])} for one in report["slowest"]]
    endpoints = [{**one, "cached_percent": (one["cached"] or 0) * 100} for one in report["endpoints"]]
    return here.render(
        "console/pages/queries/list.html", title="Queries", day=day, away=away, endpoints=endpoints, slowest=slowest,
        before=day - timedelta(days=1), after=day + timedelta(days=1) if day < today else None,
        lead=f"What was asked in {here.env.key}, what took most time, and where answers came from.",
    )  # fmt: skip


def _day(text: str, today: date) -> date:
    """Return the day asked for, today for nonsense and for days to come."""
    try:
        return min(date.fromisoformat(text), today)
    except ValueError:
        return today
