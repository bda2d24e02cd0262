"""Dashboards: what they show, every revision, and the file that declares each."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_number, check_revision
from headwater.control.api.schemas import SEEN, ChangeIn
from headwater.control.dashboards.actions import (
    archive_dashboard,
    create_dashboard,
    restore_dashboard,
    revert_dashboard,
    save_dashboard,
)
from headwater.control.dashboards.document import write_dashboard
from headwater.control.dashboards.models import Dashboard, DashboardRevision
from headwater.control.dashboards.queries import find_dashboard, newest_revision
from headwater.core.dashboards import parse_board
from headwater.core.errors import HeadwaterError

router = Router(tags=["Dashboards"])
Paging = Annotated[PageQuery, Query(...)]
DASHBOARDS = "/{org}/projects/{project}/environments/{environment}/dashboards"
DASHBOARD = DASHBOARDS + "/{dashboard}"


class DashboardQuery(PageQuery):
    """Which dashboards are asked for."""

    archived: bool = Field(False, description="Those that are archived, instead of those that are not")


class DashboardOut(Schema):
    """A dashboard. ``number`` is the revision of its content, ``revision`` that of the row, for locking."""

    id: str
    name: str
    title: str
    description: str
    number: int
    archived_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: Dashboard) -> DashboardOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, name=row.name, title=row.title, description=row.description, number=row.number,
            archived_at=row.archived_at, revision=row.revision,
        )  # fmt: skip


class ContentOut(DashboardOut):
    """A dashboard with what it shows, and ``file``: the YAML that declares it."""

    spec: dict[str, Any]
    file: str

    @classmethod
    def of(cls, row: Dashboard) -> ContentOut:
        """Return what the API says about ``row`` and its content."""
        revision = newest_revision(row)
        return cls(**DashboardOut.show(row).dict(), spec=revision.spec, file=write_dashboard(revision.board))


class DashboardIn(Schema):
    """What a dashboard is to show, as ``dashboards/<name>.yaml`` has it."""

    spec: dict[str, Any]
    note: str = Field("", max_length=500, description="What was changed; kept with the revision")
    revision: int | None = Field(None, description=SEEN + "; 0: there is none yet")


class RevertIn(Schema):
    """Which older revision to show again."""

    number: int = Field(ge=1)
    note: str = Field("", max_length=500)
    revision: int | None = Field(None, description=SEEN)


class DashboardRevisionOut(Schema):
    """A revision of a dashboard: what it showed, who saved it and when."""

    id: str
    number: int
    saved_by: str
    note: str
    created_at: datetime
    spec: dict[str, Any]

    @classmethod
    def show(cls, row: DashboardRevision) -> DashboardRevisionOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, number=row.number, saved_by=row.saved_by, note=row.note, created_at=row.created_at,
            spec=row.spec,
        )  # fmt: skip


@router.get(DASHBOARDS, response=Page[DashboardOut])
def list_dashboards(
    request: HttpRequest, org: str, project: str, environment: str, query: Annotated[DashboardQuery, Query(...)]
) -> Page[DashboardOut]:
    """List an environment's dashboards; those that are archived only when asked for."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("dashboard.read", home)
    rows = Dashboard.objects.for_org(home.org_id).filter(environment=home, archived_at__isnull=not query.archived)
    return take_page(rows, query, DashboardOut.show)


@router.get(DASHBOARD, response=ContentOut)
def get_dashboard(request: HttpRequest, org: str, project: str, environment: str, dashboard: str) -> ContentOut:
    """Show a dashboard and what it shows."""
    return ContentOut.of(_dashboard(caller_of(request), org, project, environment, dashboard))


@router.put(DASHBOARD, response=ContentOut)
def put_dashboard(
    request: HttpRequest, org: str, project: str, environment: str, dashboard: str, body: DashboardIn
) -> ContentOut:
    """Make a dashboard, or save it as a new revision; it is held against its endpoints first."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    rows = Dashboard.objects.for_org(home.org_id).filter(environment=home, name=dashboard)
    existing = rows.select_related("environment__project").first()
    caller.need("dashboard.write", existing or home)
    check_number(request, existing.revision if existing else 0, f"dashboard {dashboard[:100]!r}", body.revision)
    board = parse_board(body.spec)
    if existing is None:
        made = create_dashboard(actor=caller.actor, environment=home, name=dashboard, board=board, note=body.note)
        return ContentOut.of(made)
    return ContentOut.of(save_dashboard(actor=caller.actor, dashboard=existing, board=board, note=body.note))


@router.post(DASHBOARD + "/archive", response=DashboardOut)
def post_archive_dashboard(
    request: HttpRequest, org: str, project: str, environment: str, dashboard: str, body: ChangeIn
) -> DashboardOut:
    """Take a dashboard away from its readers; every revision stays."""
    caller = caller_of(request)
    row = _dashboard(caller, org, project, environment, dashboard)
    check_revision(request, row, body.revision)
    return DashboardOut.show(archive_dashboard(actor=caller.actor, dashboard=row, reason=body.reason))


@router.post(DASHBOARD + "/restore", response=DashboardOut)
def post_restore_dashboard(
    request: HttpRequest, org: str, project: str, environment: str, dashboard: str, body: ChangeIn
) -> DashboardOut:
    """Show an archived dashboard again, as it was."""
    caller = caller_of(request)
    row = _dashboard(caller, org, project, environment, dashboard)
    check_revision(request, row, body.revision)
    return DashboardOut.show(restore_dashboard(actor=caller.actor, dashboard=row, reason=body.reason))


@router.get(DASHBOARD + "/revisions", response=Page[DashboardRevisionOut])
def list_dashboard_revisions(
    request: HttpRequest, org: str, project: str, environment: str, dashboard: str, page: Paging
) -> Page[DashboardRevisionOut]:
    """List the revisions of a dashboard, the newest first."""
    row = _dashboard(caller_of(request), org, project, environment, dashboard)
    rows = DashboardRevision.objects.for_org(row.org_id).filter(dashboard=row)
    return take_page(rows, page, DashboardRevisionOut.show, newest_first=True)


@router.get(DASHBOARD + "/revisions/{number}", response=DashboardRevisionOut)
def get_dashboard_revision(
    request: HttpRequest, org: str, project: str, environment: str, dashboard: str, number: int
) -> DashboardRevisionOut:
    """Show one revision of a dashboard."""
    row = _dashboard(caller_of(request), org, project, environment, dashboard)
    found = DashboardRevision.objects.for_org(row.org_id).filter(dashboard=row, number=number).first()
    if found is None:
        raise HeadwaterError("not_found", f"{row.name} has no revision {number}")
    return DashboardRevisionOut.show(found)


@router.post(DASHBOARD + "/revert", response=ContentOut)
def post_revert_dashboard(
    request: HttpRequest, org: str, project: str, environment: str, dashboard: str, body: RevertIn
) -> ContentOut:
    """Save what an older revision showed as the newest one."""
    caller = caller_of(request)
    row = _dashboard(caller, org, project, environment, dashboard)
    check_revision(request, row, body.revision)
    return ContentOut.of(revert_dashboard(actor=caller.actor, dashboard=row, number=body.number, note=body.note))


def _dashboard(caller: Caller, org: str, project: str, environment: str, name: str) -> Dashboard:
    found = find_dashboard(caller.environment(org, project, environment), name)
    caller.need("dashboard.read", found)
    return found
