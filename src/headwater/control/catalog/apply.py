"""Applying a project directory to an environment: declarative, all or nothing, and idempotent."""

from __future__ import annotations

from typing import Final

from headwater.control.access.authority import authorize
from headwater.control.catalog.endpoint_planning import plan_endpoints
from headwater.control.catalog.model_content import inspect_models
from headwater.control.catalog.model_planning import plan_models
from headwater.control.catalog.payload import Change, Outcome, Resources
from headwater.control.catalog.planning import Plan, plan_datasets
from headwater.control.catalog.project import Project, read_project
from headwater.control.dashboards.planning import plan_dashboards
from headwater.control.features.planning import plan_views
from headwater.control.flags.planning import plan_flags
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment
from headwater.control.policies.planning import plan_policies
from headwater.control.reviews.planning import plan_queues
from headwater.core.errors import HeadwaterError

LISTED_ERRORS: Final = 500


def plan_project(*, actor: Actor, environment: Environment, resources: Resources) -> Outcome:
    """Return what ``apply_project`` would change, and change nothing.

    Raises:
        HeadwaterError: ``project_invalid`` with every error of every file, ``forbidden``.
    """
    if actor.kind != "system":
        authorize(actor, "project.apply", environment)
    project = read_project(resources)
    inspect_models(environment, project)
    plan = make_plan(environment, project)
    return Outcome(changes=tuple(plan.changes), snapshot=_newest_snapshot(environment), dry_run=True)


def apply_project(*, actor: Actor, environment: Environment, resources: Resources) -> Outcome:
    """Change ``environment`` to what ``resources`` declare, in one transaction.

    Resources that the directory no longer has are left alone and mentioned; applying the same again changes nothing.

    Raises:
        HeadwaterError: ``project_invalid`` with every error of every file; then nothing was changed. ``forbidden``,
            ``conflict`` when somebody else changed the same resource meanwhile.
    """
    if actor.kind != "system":
        authorize(actor, "project.apply", environment)
    # Reading the files and running the models needs no lock on the database.
    project = read_project(resources)
    inspect_models(environment, project)
    changes = _apply(actor=actor, environment=environment, project=project)
    return Outcome(changes=tuple(changes), snapshot=_newest_snapshot(environment), dry_run=False)


@action("catalog.project.applied", permission="project.apply", on="environment")
def _apply(*, actor: Actor, environment: Environment, project: Project) -> list[Change]:
    plan = make_plan(environment, project)
    for step in plan.steps:
        step(actor)
    return plan.changes


def make_plan(environment: Environment, project: Project) -> Plan:
    """Return what has to be done; raises ``project_invalid`` with every error of every file."""
    plan = Plan(errors=list(project.errors))
    plan_datasets(plan, environment, project.datasets)
    plan_endpoints(plan, environment, project)
    plan_views(plan, environment, project)
    plan_flags(plan, environment, project)
    plan_models(plan, environment, project)
    plan_queues(plan, environment, project)
    plan_policies(plan, environment, project)
    plan_dashboards(plan, environment, project)
    if plan.errors:
        count = len(plan.errors)
        listed = [error.to_plain() for error in plan.errors[:LISTED_ERRORS]]
        raise HeadwaterError(
            "project_invalid",
            f"{count} {'error' if count == 1 else 'errors'} in the project; nothing was changed",
            hint="mend what is listed and apply again"
            + (f"; only the first {LISTED_ERRORS} are listed" if count > LISTED_ERRORS else ""),
            extra={"errors": listed},
        )
    return plan


def _newest_snapshot(environment: Environment) -> int | None:
    newest = environment.snapshots.order_by("-number").values_list("number", flat=True).first()
    return int(newest) if newest is not None else None
