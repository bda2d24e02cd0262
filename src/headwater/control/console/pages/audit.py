"""The audit log of an organisation: searched, read one by one, taken away."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.api.streams import stream_text
from headwater.control.audit.exporting import plain
from headwater.control.audit.models import AuditEvent, AuditHead
from headwater.control.console.forms import ConsoleForm
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.tables import PAGE_ROWS, Table
from headwater.core.ids import parse_id

PERIODS: Final = (("", "Ever"), ("1", "A day"), ("7", "A week"), ("30", "A month"), ("365", "A year"))
EXPORT_PAGE: Final = 1_000
SEARCHED: Final = 50_000
"""Events looked at for one page: text is looked for without an index."""
NEAR: Final = 1_000
COLUMNS: Final = (
    "n", "id", "at", "action", "actor_kind", "actor_id", "actor_label", "on_behalf_of", "target_kind", "target_id",
    "target_label", "reason", "request_id", "group_id", "ip", "before", "after", "related", "prev_hash", "hash",
)  # fmt: skip
"""Of the CSV; what is nested is JSON in a cell."""


class SearchForm(ConsoleForm):
    """What is looked for besides the search box, which finds actors, targets, reasons and actions."""

    actor = forms.CharField(max_length=254, required=False)
    action = forms.CharField(max_length=100, required=False)
    target = forms.CharField(max_length=100, required=False)
    period = forms.ChoiceField(label="Within", choices=PERIODS, required=False)


@page(
    "audit/", name="audit", permission="audit.read", whole=True, entry=Entry("Audit", "audit", "Organisation", order=30)
)
def audit(request: HttpRequest, here: Place) -> HttpResponse:
    """Search the log, newest first."""
    form = SearchForm(request.GET)
    table = _page(here, request, _found(here, request, form))
    query = request.GET.copy()
    query.pop("after", None)
    return here.render(
        "console/pages/audit/list.html", title="Audit", table=table, q=request.GET.get("q", ""), filters=form,
        query=query.urlencode(), toolbar="console/pages/audit/toolbar.html",
        lead="Everything that changed, by whom and why. Nobody can alter it, and its hashes would show it.",
    )  # fmt: skip


@page("audit/events/<slug:event>/", name="audit-event", permission="audit.read", whole=True, section="audit")
def event(request: HttpRequest, here: Place, event: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show one event: who, what, before and after, and what else it touched."""
    row = AuditEvent.objects.filter(org_id=here.org.pk, pk=parse_id(AuditEvent.prefix, event)).first()
    if row is None:
        raise Http404
    # What was done together was logged in one go, so it lies close by: there is no index to find it with.
    near = AuditEvent.objects.filter(org_id=here.org.pk, n__range=(row.n - NEAR, row.n + NEAR))
    group = near.filter(group_id=row.group_id).exclude(pk=row.pk).order_by("n")
    return here.render(
        "console/pages/audit/event.html", title=row.action, event=row, changes=list(_changes(row)),
        related=[(item, list(_differences(item["before"], item["after"]))) for item in row.related],
        together=group[:50], back=here.url("audit"), back_title="Audit",
    )  # fmt: skip


@page("audit/export.<slug:kind>", name="audit-export", permission="audit.read", whole=True, section="audit")
def export(request: HttpRequest, here: Place, kind: str) -> HttpResponse:
    """Send what is found as a file, in pages, however much it is."""
    writers = {"csv": (_csv, "text/csv"), "ndjson": (_ndjson, "application/x-ndjson")}
    if kind not in writers:
        raise Http404
    write, media = writers[kind]
    events = _pages(here, _found(here, request, SearchForm(request.GET)))
    stamp = timezone.now().strftime("%Y%m%d-%H%M%S")
    name = f"audit-{here.org.slug}-{stamp}.{kind}"
    return stream_text(request, write(events), name=name, media=f"{media}; charset=utf-8")  # type: ignore[return-value]


def _page(here: Place, request: HttpRequest, events: QuerySet[AuditEvent]) -> Table:
    """Return a page of events. However rare what is looked for, no more than ``SEARCHED`` events are looked at.

    Events of an organisation are numbered without gaps, so how far the search has come is a number; where it found
    fewer than a page, the link to the next one leads on from there.
    """
    query = request.GET.copy()
    after = query.pop("after", [""])[-1]
    if after and not after.isdecimal():
        raise Http404
    head = AuditHead.objects.filter(org_id=here.org.pk).first()
    below = int(after[:18]) if after else (head.n if head else 0) + 1
    first = max(below - SEARCHED, 0)
    found = list(events.filter(n__lt=below, n__gte=first).order_by("-n")[: PAGE_ROWS + 1])
    shown = found[:PAGE_ROWS]
    further = shown[-1].n if len(found) > PAGE_ROWS else first
    following = ""
    if further > 1:
        query["after"] = str(further)
        following = f"?{query.urlencode()}"
        del query["after"]
    return Table(shown, following, f"?{query.urlencode()}" if after else "")


def _found(here: Place, request: HttpRequest, form: SearchForm) -> QuerySet[AuditEvent]:
    events = AuditEvent.objects.filter(org_id=here.org.pk)
    q = request.GET.get("q", "").strip()[:100]
    if q:
        events = events.filter(
            Q(actor_label__icontains=q) | Q(target_label__icontains=q) | Q(reason__icontains=q) | Q(action__icontains=q)
        )
    if not form.is_valid():
        return events.none()
    values = form.cleaned_data
    if values["actor"]:
        events = events.filter(Q(actor_id=values["actor"]) | Q(actor_label__icontains=values["actor"]))
    if values["action"]:
        events = events.filter(action__startswith=values["action"])
    if values["target"]:
        events = events.filter(Q(target_id=values["target"]) | Q(target_label__icontains=values["target"]))
    if values["period"]:
        events = events.filter(at__gte=timezone.now() - timedelta(days=int(values["period"])))
    return events


def _pages(here: Place, events: QuerySet[AuditEvent]) -> Iterator[dict[str, Any]]:
    """Yield the events newest first with flat memory; each question to the database looks at a stretch of the log."""
    head = AuditHead.objects.filter(org_id=here.org.pk).first()
    below = (head.n if head else 0) + 1
    while below > 1:
        first = max(below - SEARCHED, 0)
        found = list(events.filter(n__lt=below, n__gte=first).order_by("-n")[:EXPORT_PAGE])
        yield from map(plain, found)
        below = found[-1].n if len(found) == EXPORT_PAGE else first


class _Line:
    """A file of one line, which is what a CSV writer wants."""

    def write(self, text: str) -> str:
        return text


def _csv(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    for item in events:
        yield writer.writerow([_harmless(item.get(name, "")) for name in COLUMNS])


def _harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _ndjson(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    for item in events:
        yield json.dumps(item, ensure_ascii=False) + "\n"


def _changes(row: AuditEvent) -> Iterator[tuple[str, str, str]]:
    return _differences(row.before, row.after)


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in {**before, **after}:
        yield name, _shown(before.get(name)), _shown(after.get(name))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
