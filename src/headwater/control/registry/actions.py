"""Changes to models: push versions, move aliases, share traffic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Max

from headwater.control.catalog.digest import sha256_of
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment, Project
from headwater.control.registry.models import Deployment, Model, ModelAlias, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import RouteSpec

CHAMPION = "champion"
WHOLE = 10_000
State = ModelVersion.State


@action("registry.model.created", permission="model.write", on="project")
def create_model(*, actor: Actor, project: Project, name: str, description: str = "") -> Model:
    """Create a model without versions."""
    model = Model(org_id=project.org_id, project=project, name=name, description=description)
    model.save()
    return model


@action("registry.model.described", permission="model.write", on="model")
def describe_model(*, actor: Actor, model: Model, description: str) -> Model:
    """Change what a model says about itself."""
    model.change(description=description)
    return model


@action("registry.version.registered", permission="model.write", on="model")
def register_version(
    *, actor: Actor, model: Model, signature: dict[str, Any], artifact_sha256: str, source: str = ""
) -> ModelVersion:
    """Add a version to a model. The caller has checked that the artifact is stored and the signature holds.

    Args:
        actor: who pushes.
        model: the model.
        signature: ``framework``, ``inputs`` (a plain contract spec), ``outputs`` and ``metrics``.
        artifact_sha256: lower-case hexadecimal.
        source: the manifest as it was written.
    """
    versions = ModelVersion.objects.for_org(model.org_id).filter(model=model)
    version = ModelVersion(
        org_id=model.org_id,
        model=model,
        number=int(versions.aggregate(newest=Max("number"))["newest"] or 0) + 1,
        framework=signature["framework"],
        artifact_sha256=artifact_sha256,
        inputs=signature["inputs"],
        outputs=signature["outputs"],
        metrics=signature.get("metrics", {}),
        spec_sha256=version_digest(signature, artifact_sha256),
        source=source,
    )
    version.save()
    return version


@action("registry.version.approved", permission="model.write", on="version")
def approve_version(*, actor: Actor, version: ModelVersion, reason: str = "") -> ModelVersion:
    """Allow a version in protected environments."""
    if version.state == State.ARCHIVED:
        raise HeadwaterError("conflict", f"{version} is archived", hint="register a new version")
    version.change(state=State.APPROVED)
    return version


@action("registry.version.archived", permission="model.write", on="version")
def archive_version(*, actor: Actor, version: ModelVersion, reason: str = "") -> ModelVersion:
    """Take a version out of use; raises ``conflict`` while it is deployed or named by an alias."""
    if version.deployments.exists() or version.aliases.exists():
        raise HeadwaterError("conflict", f"{version} is in use", hint="promote another version first")
    version.change(state=State.ARCHIVED)
    return version


@action("registry.alias.moved", permission="model.write", on="version")
def move_alias(*, actor: Actor, version: ModelVersion, name: str, reason: str = "") -> ModelAlias:
    """Let the alias ``name`` mean ``version``."""
    alias = ModelAlias.objects.for_org(version.org_id).filter(model=version.model, name=name).first()
    if alias is None:
        alias = ModelAlias(org_id=version.org_id, model=version.model, name=name, version=version)
        alias.save()
    else:
        alias.change(version=version)
    return alias


@action("registry.version.promoted", permission="model.write", on="environment")
def promote_version(*, actor: Actor, version: ModelVersion, environment: Environment, reason: str = "") -> ModelVersion:
    """Send all of an environment's traffic for the model to ``version`` and make it the champion."""
    route_model(
        actor=actor,
        model=version.model,
        environment=environment,
        routes=[RouteSpec(version=version.number)],
        reason=reason,
    )
    move_alias(actor=actor, version=version, name=CHAMPION, reason=reason)
    return version


@action("registry.model.routed", permission="model.write", on="environment")
def route_model(
    *, actor: Actor, model: Model, environment: Environment, routes: Sequence[RouteSpec], reason: str = ""
) -> list[Deployment]:
    """Replace the routes of a model in an environment.

    Raises:
        HeadwaterError: ``invalid_parameter`` when the weights do not sum to 10,000 or a version is named twice,
            ``not_found`` for an unknown version or environment, ``conflict`` for one that may not be served there.
    """
    if environment.project_id != model.project_id:
        raise HeadwaterError("not_found", f"{environment.key!r} is not an environment of the model's project")
    _check_weights(routes)
    versions = {version.number: version for version in ModelVersion.objects.for_org(model.org_id).filter(model=model)}
    for route in routes:
        _check_servable(versions.get(route.version), route.version, environment)
    deployments = Deployment.objects.for_org(model.org_id).filter(model=model, environment=environment)
    existing = {deployment.version_id: deployment for deployment in deployments.select_related("version__model")}
    wanted = {versions[route.version].pk: route for route in routes}
    for version_id, deployment in existing.items():
        if version_id not in wanted:
            deployment.remove()
    return [
        _put_route(existing.get(versions[route.version].pk), versions[route.version], environment, route)
        for route in routes
    ]


def version_digest(signature: dict[str, Any], artifact_sha256: str) -> str:
    """Return what identifies a version's content: the same artifact with the same signature is the same version."""
    content = {name: signature[name] for name in ("framework", "inputs", "outputs")}
    return sha256_of(content | {"artifact_sha256": artifact_sha256})


def _put_route(
    current: Deployment | None, version: ModelVersion, environment: Environment, route: RouteSpec
) -> Deployment:
    if current is not None:
        current.change(role=route.role, weight_bps=route.weight_bps)
        return current
    deployment = Deployment(
        org_id=version.org_id,
        environment=environment,
        model=version.model,
        version=version,
        role=route.role,
        weight_bps=route.weight_bps,
    )
    deployment.save()
    return deployment


def _check_weights(routes: Sequence[RouteSpec]) -> None:
    numbers = [route.version for route in routes]
    if len(set(numbers)) != len(numbers):
        raise HeadwaterError("invalid_parameter", "a version has two routes", hint="name each version once")
    total = sum(route.weight_bps for route in routes if route.role != "shadow")
    if total != WHOLE or any(not 0 <= route.weight_bps <= WHOLE for route in routes):
        raise HeadwaterError(
            "invalid_parameter",
            f"the weights of the routes that answer sum to {total}, not to {WHOLE:,}",
            hint="weights are basis points: 2,500 is a quarter of the traffic",
        )


def _check_servable(version: ModelVersion | None, number: int, environment: Environment) -> None:
    if version is None:
        raise HeadwaterError("not_found", f"the model has no version {number}")
    if version.state == State.ARCHIVED:
        raise HeadwaterError("conflict", f"{version} is archived", hint="choose another version")
    if environment.protected and version.state != State.APPROVED:
        raise HeadwaterError(
            "conflict",
            f"{version} is not approved, and {environment.key!r} is protected",
            hint="approve the version first",
        )
