"""Dashboards: what there are, one of them with its tiles, and its older revisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from headwater.control.catalog.models import Endpoint
from headwater.control.console.boards.bundle import bundle_name
from headwater.control.console.boards.text import to_html
from headwater.control.console.forms import ReasonForm, perform
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.snippets import services_url
from headwater.control.console.tables import keyset
from headwater.control.dashboards.actions import archive_dashboard, restore_dashboard, revert_dashboard
from headwater.control.dashboards.models import Dashboard, DashboardRevision
from headwater.control.dashboards.queries import find_dashboard, newest_revision, newest_revisions
from headwater.core.dashboards import Board, Filter, TextTile, Tile
from headwater.core.dashboards.binding import as_text, check_choice
from headwater.core.dashboards.times import PRESETS
from headwater.core.errors import HeadwaterError

SHOWN_REVISIONS: Final = 50


@page(
    "dashboards/", name="dashboards", permission="dashboard.read", entry=Entry("Dashboards", "chart", "Data", order=40)
)
def dashboards(request: HttpRequest, here: Place) -> HttpResponse:
    """List the dashboards of the environment."""
    archived = "archived" in request.GET
    rows = Dashboard.objects.for_org(here.org).filter(environment=here.env, archived_at__isnull=not archived)
    if not here.holds("dashboard.read"):
        rows = rows.filter(name__in=here.named("dashboard.read"))
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(title__icontains=q) | Q(description__icontains=q))
    table = keyset(rows, request, by="name")
    newest = newest_revisions(table.rows)
    endpoints = Endpoint.objects.for_org(here.org).filter(environment=here.env, archived_at=None)
    return here.render(
        "console/pages/dashboards/list.html", title="Dashboards", table=table, q=q, archived=archived,
        cards=[(row, newest[row.pk], outline(newest[row.pk].board)) for row in table.rows],
        lead="What your endpoints answer, for people to look at.", may_write=here.holds("dashboard.write"),
        toolbar="console/pages/dashboards/list_toolbar.html", has_endpoints=endpoints.exists(),
    )  # fmt: skip


@page("dashboards/<slug:name>/", name="dashboard", permission="dashboard.read", section="dashboards")
def dashboard(request: HttpRequest, here: Place, name: str) -> HttpResponse:
    """Show a dashboard; its tiles ask for their data by themselves."""
    row = find_dashboard(here.env, name)
    here.need("dashboard.read", row)
    revision = newest_revision(row)
    board = revision.board
    response = here.render(
        "console/pages/dashboards/view.html", title=board.title, lead=board.description, dashboard=row,
        revision=revision, board=board, tiles=[shown(here, row.name, tile) for tile in board.tiles],
        filters=[Choice.of(item, request.GET.get(item.name)) for item in board.filters],
        back=here.url("dashboards"), back_title="Dashboards", badge="archived" if row.archived_at else "",
        toolbar="console/pages/dashboards/view_toolbar.html", may_write=here.may("dashboard.write", row),
        script=reverse("chart-script", args=[bundle_name()]), query=urlencode(request.GET),
    )  # fmt: skip
    if any(getattr(tile, "live", False) for tile in board.tiles):
        allow_services(response)
    return response


@page(
    "dashboards/<slug:name>/revisions/", name="dashboard-revisions", permission="dashboard.read", section="dashboards"
)
def revisions(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """List what was saved, by whom and why."""
    row = find_dashboard(here.env, name)
    here.need("dashboard.read", row)
    rows = DashboardRevision.objects.for_org(here.org).filter(dashboard=row).order_by("-number")
    return here.render(
        "console/pages/dashboards/revisions.html", title=f"Revisions of {row.title}", dashboard=row,
        lines=[(one, len(one.board.tiles)) for one in rows[:SHOWN_REVISIONS]],
        back=here.url("dashboard", row.name), back_title=row.title, may_write=here.may("dashboard.write", row),
    )  # fmt: skip


@page(
    "dashboards/<slug:name>/revert/<int:number>/", name="dashboard-revert", permission="dashboard.write",
    section="dashboards", methods=("POST",),
)  # fmt: skip
def revert(request: HttpRequest, here: Place, name: str, number: int) -> HttpResponse:
    """Show an older revision again."""
    row = find_dashboard(here.env, name)

    def run(values: dict[str, Any]) -> str:
        revert_dashboard(actor=here.actor, dashboard=row, number=number, note=values["reason"])
        return f"{row.title} shows what revision {number} did."

    return perform(request, run, back=here.url("dashboard", name))


@page(
    "dashboards/<slug:name>/archive/", name="dashboard-archive", permission="dashboard.write", section="dashboards",
    methods=("POST",),
)  # fmt: skip
def archive(request: HttpRequest, here: Place, name: str) -> HttpResponse:
    """Take a dashboard away from its readers, or show it again."""
    row = find_dashboard(here.env, name)
    is_archived = row.archived_at is not None

    def run(values: dict[str, Any]) -> str:
        act = restore_dashboard if is_archived else archive_dashboard
        act(actor=here.actor, dashboard=row, reason=values["reason"])
        return f"{row.title} is {'shown again' if is_archived else 'archived'}."

    back = here.url("dashboard", name) if is_archived else here.url("dashboards")
    return perform(request, run, back=back, form=ReasonForm(request.POST))


@dataclass(frozen=True, slots=True)
class Shown:
    """A tile on a page: itself, where its data come from, and the words of one that has words."""

    tile: Tile
    url: str = ""
    live_url: str = ""
    words: SafeString | str = ""


def shown(here: Place, name: str, tile: Tile) -> Shown:
    """Return a tile of a dashboard for the page."""
    if isinstance(tile, TextTile):
        return Shown(tile, words=to_html(tile.text, titled=bool(tile.title)))
    live = here.url("dashboard-live", name, tile.name) if tile.live else ""
    return Shown(tile, url=here.url("dashboard-tile", name, tile.name), live_url=live)


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter on a page: itself, the value in force, what it offers, and what is wrong with the value."""

    filter: Filter
    value: str
    options: tuple[tuple[str, str], ...]
    problem: str = ""

    @classmethod
    def of(cls, item: Filter, given: str | None) -> Choice:
        """Return a filter with what was asked for, or its default."""
        value = given.strip() if given is not None else as_text(item.default)
        problem = ""
        if value:
            try:
                check_choice(item, value)
            except HeadwaterError as error:
                problem = error.detail
        options = tuple(map(as_text, item.values))
        if item.type == "time_range":
            options = options or PRESETS
        elif item.type == "boolean":
            options = options or ("true", "false")
        if options and value and value not in options:
            options = (value, *options)
        return cls(item, value, tuple((option, range_label(option)) for option in options), problem)

    @property
    def may_be_empty(self) -> bool:
        """Return whether nothing need be chosen."""
        return self.filter.default is None


def range_label(text: str) -> str:
    """Return a time range between two days as people write it; anything else as it is."""
    first, slash, last = text.partition("/")
    try:
        begins, ends = (date.fromisoformat(one) for one in (first, last))
    except ValueError:
        return text
    year = "" if begins.year == ends.year else f" {begins.year}"
    return f"{begins:%-d %b}{year} \N{EN DASH} {ends:%-d %b %Y}" if slash else text


def allow_services(response: HttpResponse) -> None:
    """Let the page open streams of the data plane, which lies at another address than the console."""
    address = urlsplit(services_url())
    response.connects_to = (f"{address.scheme}://{address.netloc}",)  # type: ignore[attr-defined]


def outline(board: Board) -> Iterable[tuple[int, int, str]]:
    """Return a small picture of a dashboard: width, height and kind of its first tiles."""
    return [
        (tile.width, tile.height, tile.plot.mark if tile.kind == "chart" and tile.plot else tile.kind)
        for tile in board.tiles[:12]
    ]
