"""What an environment serves of a model, as rows: put in order, checked, and written down as a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headwater.control.features.models import FeatureView
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Deployment, Model, ModelVersion, Rollout
from headwater.control.registry.queries import Share, find_champion, may_serve, newest_rollout
from headwater.control.registry.records import who_and_why
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec

WHOLE: Final = 10_000
Cause = Rollout.Cause


def roll_out(
    model: Model,
    environment: Environment,
    shares: Sequence[Share],
    cause: Cause,
    *,
    rules: ServingSpec | None = None,
    declared: ServingSpec | None = None,
) -> Rollout | None:
    """Let ``shares`` be all that is served and write it down; return None where nothing differs."""
    last = newest_rollout(model, environment.pk)
    if cause != Cause.RULED:
        _check_shares(shares, environment)
    moved = _put_deployments(model, environment, shares)
    plain_rules = rules.model_dump(mode="json") if rules else (last.rules if last else {})
    plain_declared = declared.model_dump(mode="json") if declared else (last.declared if last else {})
    before: tuple[Any, Any] = (last.rules, last.declared) if last else ({}, {})
    if not moved and (plain_rules, plain_declared) == before:
        return None
    rollout = Rollout(
        org_id=model.org_id,
        environment=environment,
        model=model,
        number=last.number + 1 if last else 1,
        cause=cause,
        champion=find_champion(shares),
        routes=[share.plain() for share in shares],
        rules=plain_rules,
        declared=plain_declared,
        **who_and_why(),
    )
    rollout.save()
    return rollout


def _put_deployments(model: Model, environment: Environment, shares: Sequence[Share]) -> bool:
    """Bring the rows of what is served up to ``shares``; return whether anything differed."""
    rows = Deployment.objects.for_org(model.org_id).filter(model=model, environment=environment)
    existing = {row.version_id: row for row in rows.select_related("version__model")}
    wanted = {share.version.pk for share in shares}
    moved = False
    for version_id, row in existing.items():
        if version_id not in wanted:
            row.remove()
            moved = True
    for share in shares:
        row = existing.get(share.version.pk)
        if row is not None:
            moved |= row.change(role=share.role, weight_bps=share.weight_bps)
            continue
        row = Deployment(
            org_id=model.org_id,
            environment=environment,
            model=model,
            version=share.version,
            role=share.role,
            weight_bps=share.weight_bps,
        )
        row.save()
        moved = True
    return moved


def check_place(model: Model, environment: Environment) -> None:
    """Raise ``not_found`` for an environment of another project."""
    if environment.project_id != model.project_id:
        raise HeadwaterError("not_found", f"{environment.key!r} is not an environment of the model's project")


def _check_shares(shares: Sequence[Share], environment: Environment) -> None:
    numbers = [share.version.number for share in shares]
    if len(set(numbers)) != len(numbers):
        raise HeadwaterError("invalid_parameter", "a version has two routes", hint="name each version once")
    total = sum(share.weight_bps for share in shares if share.answers)
    if total != WHOLE or any(not 0 <= share.weight_bps <= WHOLE for share in shares):
        raise HeadwaterError(
            "invalid_parameter",
            f"the weights of the routes that answer sum to {total}, not to {WHOLE:,}",
            hint="weights are basis points: 2,500 is a quarter of the traffic",
        )
    if find_champion(shares) is None:
        raise HeadwaterError("invalid_parameter", "no route is primary", hint="make the one that answers most primary")
    for share in shares:
        _check_servable(share.version, environment)
        _check_views(share.version, environment)


def _check_views(version: ModelVersion, environment: Environment) -> None:
    """Raise ``conflict`` where a view that the version reads is not served in the environment."""
    wanted = {reference["view"] for reference in version.features}
    if not wanted:
        return
    views = FeatureView.objects.for_org(environment.org_id).filter(environment=environment, archived_at=None)
    missing = sorted(wanted - set(views.values_list("name", flat=True)))
    if missing:
        raise HeadwaterError(
            "conflict",
            f"{version} reads the feature view {missing[0]!r}, which is not served in {environment.key}",
            hint="apply the view there first",
        )


def _check_servable(version: ModelVersion, environment: Environment) -> None:
    if version.state == ModelVersion.State.ARCHIVED:
        raise HeadwaterError("conflict", f"{version} is archived", hint="choose another version")
    if not may_serve(version, protected=environment.protected):
        raise HeadwaterError(
            "conflict",
            f"{version} is not approved, and {environment.key!r} is protected",
            hint="approve the version first",
        )
