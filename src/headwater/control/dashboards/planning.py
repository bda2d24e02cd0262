"""What applying a project would change about its dashboards."""

from __future__ import annotations

from typing import Final

from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredDashboard, Project
from headwater.control.dashboards.actions import create_dashboard, restore_dashboard, save_dashboard
from headwater.control.dashboards.models import Dashboard, DashboardRevision
from headwater.control.dashboards.queries import newest_revisions, shape_of, shapes_of
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import Board, to_plain
from headwater.core.dashboards.fit import Shape, misfits
from headwater.core.endpoints import split_label

NOTE: Final = "applied from the project directory"


def plan_dashboards(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every dashboard of a project directory, held against the endpoints that there will be afterwards."""
    rows = Dashboard.objects.for_org(environment.org_id).filter(environment=environment)
    existing = {row.name: row for row in rows.select_related("environment__project")}
    if not project.dashboards and not existing:
        return
    shapes = shapes_of(environment) | _declared_shapes(project)
    shown = newest_revisions(existing.values())
    for name, item in project.dashboards.items():
        found = list(misfits(item.dashboard.board, shapes))
        for path, message in found:
            plan.refuse(item.file.source, path, message)
        if not found:
            row = existing.get(name)
            _plan_dashboard(plan, environment, row, shown[row.pk] if row else None, item)
    for name, row in existing.items():
        if name not in project.dashboards and row.archived_at is None:
            plan.add("dashboard", name, "unchanged", "not in the project directory; left alone (archive it to hide it)")


def _declared_shapes(project: Project) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for label, item in project.endpoints.items():
        shape = shape_of(item.endpoint.to_spec())
        found[label] = shape
        name, version = split_label(label)
        if version is None:
            found[f"{name}@1"] = shape
    return found


def _plan_dashboard(
    plan: Plan,
    environment: Environment,
    row: Dashboard | None,
    revision: DashboardRevision | None,
    item: DeclaredDashboard,
) -> None:
    name, board = item.dashboard.name, item.dashboard.board
    if row is None or revision is None:

        def create(actor: Actor) -> None:
            create_dashboard(actor=actor, environment=environment, name=name, board=board, note=NOTE)

        tiles = f"{len(board.tiles)} tile{'' if len(board.tiles) == 1 else 's'}"
        plan.add("dashboard", name, "create", board.title, tiles, step=create)
        return
    details = ["is shown again"] if row.archived_at is not None else []
    if revision.spec_sha256 != sha256_of(to_plain(board)):
        details += [f"revision {row.number + 1}", *differences(revision.board, board)]
    if not details:
        plan.add("dashboard", name, "unchanged")
        return

    def update(actor: Actor) -> None:
        restore_dashboard(actor=actor, dashboard=row, reason=NOTE)
        save_dashboard(actor=actor, dashboard=row, board=board, note=NOTE)

    plan.add("dashboard", name, "update", *details, step=update)


def differences(old: Board, new: Board) -> list[str]:
    """Return what differs between two dashboards, one line each."""
    details = [
        f"{name} changed"
        for name in ("title", "description", "refresh_seconds", "filters")
        if getattr(old, name) != getattr(new, name)
    ]
    before, after = ({tile.name: tile for tile in board.tiles} for board in (old, new))
    details += [f"tile {name} is new" for name in after if name not in before]
    details += [f"tile {name} is gone" for name in before if name not in after]
    details += [f"tile {name} changed" for name in after if name in before and before[name] != after[name]]
    order = [name for name in after if name in before]
    if order != [name for name in before if name in after]:
        details.append("the tiles are in another order")
    return details
