"""How models are served: promoting, canaries and shadows, rolling back, rules, and the history of all that."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

import itertools
from typing import Annotated

from django.http import HttpRequest
from ninja import Query, Router
from pydantic import Field

from headwater.control.api.auth import caller_of
from headwater.control.api.model_schemas import (
    DeploymentOut,
    ModelOut,
    PromoteIn,
    RollbackIn,
    RolloutOut,
    RoutesIn,
    RulesIn,
    VersionOut,
)
from headwater.control.api.pages import Page, PageQuery, take_page, take_sorted
from headwater.control.api.registry import MODEL, VERSION, find_numbered
from headwater.control.api.revisions import check_number
from headwater.control.api.schemas import TargetIn
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import (
    change_serving,
    deploy_version,
    promote_version,
    roll_back,
    route_model,
)
from headwater.control.registry.models import Deployment, Model, Rollout
from headwater.control.registry.queries import newest_rollout
from headwater.control.registry.standing import Standing

router = Router(tags=["Models"])
Paging = Annotated[PageQuery, Query(...)]


class PromotedOut(VersionOut):
    """A version after it was promoted or tried."""

    changes: list[str] = Field(description="A sentence for each version and alias that stands otherwise now")


class RolledBackOut(RolloutOut):
    """The rollout that took another back."""

    changes: list[str] = Field(description="A sentence for each version and alias that stands otherwise now")


class RolloutQuery(PageQuery):
    """Of which environment."""

    environment: str | None = None


@router.get(MODEL + "/deployments", response=Page[DeploymentOut])
def list_deployments(request: HttpRequest, org: str, project: str, model: str, page: Paging) -> Page[DeploymentOut]:
    """Show how a model is served, by environment."""
    row = caller_of(request).model(org, project, model)
    return take_sorted(_deployments(row), page, lambda shown: shown, key=lambda shown: shown.environment)


@router.get(MODEL + "/rollouts", response=Page[RolloutOut])
def list_rollouts(
    request: HttpRequest, org: str, project: str, model: str, query: Annotated[RolloutQuery, Query(...)]
) -> Page[RolloutOut]:
    """List how a model was served, newest first."""
    row = caller_of(request).model(org, project, model)
    rollouts = Rollout.objects.for_org(row.org_id).filter(model=row).select_related("environment", "champion")
    if query.environment is not None:
        rollouts = rollouts.filter(environment__key=query.environment)
    return take_page(rollouts, query, RolloutOut.show, newest_first=True)


@router.put(MODEL + "/routes", response=ModelOut)
def put_routes(request: HttpRequest, org: str, project: str, model: str, body: RoutesIn) -> ModelOut:
    """Replace the routes of a model in an environment."""
    caller = caller_of(request)
    row = caller.model(org, project, model)
    environment = caller.environment(org, project, body.environment)
    _check(request, row, environment, body)
    route_model(
        actor=caller.actor, model=row, environment=environment, routes=body.routes, pinned=body.pinned,
        reason=body.reason,
    )  # fmt: skip
    return ModelOut.show(row)


@router.put(MODEL + "/rules", response=list[DeploymentOut])
def put_rules(request: HttpRequest, org: str, project: str, model: str, body: RulesIn) -> list[DeploymentOut]:
    """Change the rules by which a model is served in an environment: limits, cache, log, rollback, monitoring."""
    from headwater.control.catalog.push import read_rules  # noqa: PLC0415 - loads what idle processes do not hold

    caller = caller_of(request)
    row = caller.model(org, project, model)
    environment = caller.environment(org, project, body.environment)
    _check(request, row, environment, body)
    rules = read_rules(body.rules)
    change_serving(actor=caller.actor, model=row, environment=environment, rules=rules, reason=body.reason)
    return _deployments(row)


@router.post(MODEL + "/rollback", response=RolledBackOut)
def post_rollback(request: HttpRequest, org: str, project: str, model: str, body: RollbackIn) -> RolledBackOut:
    """Take back what was rolled out last: end the canaries, or else let the champion before answer again."""
    caller = caller_of(request)
    row = caller.model(org, project, model)
    environment = caller.environment(org, project, body.environment)
    _check(request, row, environment, body)
    version = find_numbered(caller, org, project, model, body.version) if body.version is not None else None
    before = Standing.of(row, environment)
    rollout = roll_back(actor=caller.actor, model=row, environment=environment, version=version, reason=body.reason)
    changes = before.changes(Standing.of(row, environment))
    return RolledBackOut(**RolloutOut.show(rollout).model_dump(), changes=changes)


@router.post(VERSION + "/promote", response=PromotedOut)
def post_promote(request: HttpRequest, org: str, project: str, model: str, number: int, body: PromoteIn) -> PromotedOut:
    """Send all of an environment's traffic to a version and make it the champion, or try it beside the champion."""
    caller = caller_of(request)
    row = find_numbered(caller, org, project, model, number)
    environment = caller.environment(org, project, body.environment)
    _check(request, row.model, environment, body)
    before = Standing.of(row.model, environment)
    if body.role == "primary":
        promote_version(actor=caller.actor, version=row, environment=environment, reason=body.reason)
    else:
        deploy_version(
            actor=caller.actor, version=row, environment=environment, role=body.role, weight_bps=body.weight_bps,
            reason=body.reason,
        )  # fmt: skip
    changes = before.changes(Standing.of(row.model, environment))
    return PromotedOut(**VersionOut.members(row), changes=changes)


def _check(request: HttpRequest, model: Model, environment: Environment, body: TargetIn) -> None:
    """Hold what the caller last saw of a model in an environment against the rollout in force."""
    newest = newest_rollout(model, environment.pk)
    check_number(request, newest.number if newest else 0, f"{model.name} in {environment.key}", body.revision)


def _deployments(model: Model) -> list[DeploymentOut]:
    rows = Deployment.objects.for_org(model.org_id).filter(model=model)
    found = rows.select_related("environment", "version").order_by("environment__key", "role", "version__number")
    groups = itertools.groupby(found, key=lambda row: row.environment_id)
    return [DeploymentOut.show(model, group) for _, group in groups]
