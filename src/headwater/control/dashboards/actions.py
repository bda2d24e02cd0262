"""Changes to dashboards."""

from __future__ import annotations

from django.utils import timezone

from headwater.control.catalog.digest import sha256_of
from headwater.control.dashboards.fit import require_fit
from headwater.control.dashboards.models import Dashboard, DashboardRevision
from headwater.control.dashboards.queries import newest_revision
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import Board, to_plain
from headwater.core.errors import HeadwaterError


@action("dashboards.dashboard.created", permission="dashboard.write", on="environment")
def create_dashboard(*, actor: Actor, environment: Environment, name: str, board: Board, note: str = "") -> Dashboard:
    """Make a dashboard.

    Raises:
        HeadwaterError: ``conflict`` for a name that is taken, ``dashboard_invalid`` where a tile does not fit its
            endpoint, ``invalid_parameter`` for a name that cannot be one.
    """
    require_fit(environment, board)
    dashboard = Dashboard(
        org_id=environment.org_id, environment=environment, name=name, title=board.title, description=board.description
    )
    dashboard.save()
    _keep(actor, dashboard, board, note)
    return dashboard


@action("dashboards.dashboard.saved", permission="dashboard.write", on="dashboard")
def save_dashboard(*, actor: Actor, dashboard: Dashboard, board: Board, note: str = "") -> Dashboard:
    """Save a dashboard as a new revision; one that shows the same already stays as it is.

    Raises:
        HeadwaterError: ``dashboard_invalid``, ``conflict`` when somebody else saved it meanwhile, or it is archived.
    """
    _require_live(dashboard)
    require_fit(dashboard.environment, board)
    _save(actor, dashboard, board, note)
    return dashboard


@action("dashboards.dashboard.reverted", permission="dashboard.write", on="dashboard")
def revert_dashboard(*, actor: Actor, dashboard: Dashboard, number: int, note: str = "") -> Dashboard:
    """Save what an older revision showed as the newest one.

    Raises:
        HeadwaterError: ``not_found`` for a revision that there is not; as ``save_dashboard``: endpoints may have
            changed since.
    """
    _require_live(dashboard)
    rows = DashboardRevision.objects.for_org(dashboard.org_id).filter(dashboard=dashboard)
    revision = rows.filter(number=number).first()
    if revision is None:
        raise HeadwaterError("not_found", f"{dashboard.name} has no revision {number}")
    board = revision.board
    require_fit(dashboard.environment, board)
    _save(actor, dashboard, board, note or f"back to revision {number}")
    return dashboard


@action("dashboards.dashboard.archived", permission="dashboard.write", on="dashboard")
def archive_dashboard(*, actor: Actor, dashboard: Dashboard, reason: str = "") -> Dashboard:
    """Take a dashboard away from its readers; its revisions stay."""
    if dashboard.archived_at is None:
        dashboard.change(archived_at=timezone.now())
    return dashboard


@action("dashboards.dashboard.restored", permission="dashboard.write", on="dashboard")
def restore_dashboard(*, actor: Actor, dashboard: Dashboard, reason: str = "") -> Dashboard:
    """Show an archived dashboard again, as it was."""
    if dashboard.archived_at is not None:
        dashboard.change(archived_at=None)
    return dashboard


def _save(actor: Actor, dashboard: Dashboard, board: Board, note: str) -> None:
    newest = newest_revision(dashboard)
    if newest.spec_sha256 == sha256_of(to_plain(board)):
        return
    # The row is changed first: of two that save at once, one finds its revision gone and nothing is written twice.
    dashboard.change(number=dashboard.number + 1, title=board.title, description=board.description)
    _keep(actor, dashboard, board, note)


def _keep(actor: Actor, dashboard: Dashboard, board: Board, note: str) -> None:
    spec = to_plain(board)
    DashboardRevision(
        org_id=dashboard.org_id, dashboard=dashboard, number=dashboard.number, spec=spec, spec_sha256=sha256_of(spec),
        note=note.strip(), saved_by=actor.label[:254],
    ).save()  # fmt: skip


def _require_live(dashboard: Dashboard) -> None:
    if dashboard.archived_at is not None:
        raise HeadwaterError("conflict", f"{dashboard.name!r} is archived", hint="restore it first")
