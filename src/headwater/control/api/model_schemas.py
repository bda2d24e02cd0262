"""What the control API says about models, their versions and how they are served."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from headwater.control.api.schemas import SEEN, ChangeIn, ReasonIn, TargetIn
from headwater.control.monitoring.links import report_url
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import (
    AliasMove,
    Approval,
    Deployment,
    LineageEdge,
    Model,
    ModelAlias,
    ModelVersion,
    Rollout,
    VersionCheck,
)
from headwater.control.registry.queries import find_fallback, newest_rollout, rules_of
from headwater.core.snapshot import RouteSpec, ServingSpec

Role = Literal["primary", "canary", "shadow", "pinned"]


class RouteOut(Schema):
    """What a version does in an environment."""

    version: int
    role: Role
    weight_bps: int


class ModelOut(Schema):
    """A model, its aliases and its routes."""

    id: str
    name: str
    description: str
    tags: dict[str, str]
    aliases: dict[str, int] = Field(description="Alias to version number")
    routes: dict[str, list[RouteOut]] = Field(description="Environment to its routes")
    newest: int | None = Field(description="Number of the newest version that is not archived")
    revision: int

    @classmethod
    def show(cls, row: Model) -> ModelOut:
        """Return what the API says about ``row``."""
        routes: dict[str, list[RouteOut]] = {}
        deployments = Deployment.objects.for_org(row.org_id).filter(model=row).order_by("role", "version__number")
        for item in deployments.select_related("environment", "version"):
            routes.setdefault(item.environment.key, []).append(_route(item))
        usable = row.versions.exclude(state=ModelVersion.State.ARCHIVED)
        newest = usable.order_by("-number").values_list("number", flat=True).first()
        return cls(
            id=row.public_id,
            name=row.name,
            description=row.description,
            tags=row.tags,
            aliases=_aliases(row),
            routes=routes,
            newest=newest,
            revision=row.revision,
        )


class CheckOut(Schema):
    """What a check found."""

    name: str
    status: Literal["passed", "failed", "warned", "skipped"]
    detail: str
    at: datetime

    @classmethod
    def show(cls, row: VersionCheck) -> CheckOut:
        """Return what the API says about ``row``."""
        return cls(name=row.name, status=row.status, detail=row.detail, at=row.at)  # type: ignore[arg-type]


class VersionOut(Schema):
    """A sealed version of a model."""

    id: str
    number: int
    framework: str
    artifact_sha256: str
    artifact_bytes: int | None
    state: str
    inputs: dict[str, Any]
    outputs: list[dict[str, Any]]
    features: list[dict[str, Any]]
    metrics: dict[str, Any]
    training: dict[str, Any]
    license: str
    tags: dict[str, str]
    aliases: list[str]
    failed_checks: list[str]
    pushed_by: str
    created_at: datetime
    revision: int
    report_url: str = Field(description="The page with its traffic, drift and quality, for people who sign in")

    @classmethod
    def show(cls, row: ModelVersion) -> VersionOut:
        """Return what the API says about ``row``."""
        return cls(**cls.members(row))

    @staticmethod
    def members(row: ModelVersion) -> dict[str, Any]:
        """Return the members that every view of a version has."""
        names = (
            "number", "framework", "artifact_sha256", "artifact_bytes", "state", "inputs", "outputs", "features",
            "metrics", "training", "license", "tags", "created_at", "revision",
        )  # fmt: skip
        failed = row.checks.filter(status=VersionCheck.Status.FAILED)
        return {name: getattr(row, name) for name in names} | {
            "id": row.public_id,
            "aliases": list(row.aliases.order_by("name").values_list("name", flat=True)),
            "failed_checks": list(failed.values_list("name", flat=True)),
            "pushed_by": row.pushed_by_label,
            "report_url": report_url(row),
        }


class ApprovalOut(Schema):
    """Who allowed a version in protected environments."""

    by: str
    reason: str
    overridden: list[str]
    at: datetime

    @classmethod
    def show(cls, row: Approval) -> ApprovalOut:
        """Return what the API says about ``row``."""
        return cls(by=row.by_label, reason=row.reason, overridden=row.overridden, at=row.created_at)


class LineageOut(Schema):
    """That a version was trained on a dataset or reads a feature view."""

    model: str
    version: int
    kind: Literal["trained_on", "reads_view"]
    name: str
    table_version: int | None
    members: list[str] = Field(description="The features read")

    @classmethod
    def show(cls, row: LineageEdge) -> LineageOut:
        """Return what the API says about ``row``."""
        return cls(
            model=row.version.model.name,
            version=row.version.number,
            kind=row.kind,  # type: ignore[arg-type]
            name=row.name,
            table_version=row.table_version,
            members=row.members,
        )


class VersionDetail(VersionOut):
    """All about a version."""

    options: dict[str, Any]
    examples: list[dict[str, Any]]
    limits: dict[str, Any]
    profile_sha256: str
    memory_bytes: int
    timeout_seconds: float
    card: str
    source: str
    checks: list[CheckOut]
    approvals: list[ApprovalOut]
    lineage: list[LineageOut]

    @classmethod
    def show(cls, row: ModelVersion) -> VersionDetail:
        """Return what the API says about ``row``."""
        names = (
            "options", "examples", "limits", "profile_sha256", "memory_bytes", "timeout_seconds", "card", "source",
        )  # fmt: skip
        return cls(
            **cls.members(row),
            **{name: getattr(row, name) for name in names},
            checks=[CheckOut.show(check) for check in row.checks.all()],
            approvals=[ApprovalOut.show(approval) for approval in row.approvals.all()],
            lineage=[LineageOut.show(edge) for edge in row.lineage.select_related("version__model")],
        )


class PushOut(VersionDetail):
    """The version that a push made, or found, and what is served now."""

    model: str
    version: int
    created: bool
    routes: list[RouteOut] = Field(description="What the environment serves of the model")

    @classmethod
    def show(cls, row: ModelVersion, environment: Environment | None = None, *, created: bool = False) -> PushOut:
        """Return what the API says about ``row`` that was pushed for ``environment``."""
        deployments = Deployment.objects.for_org(row.org_id).filter(model=row.model, environment=environment)
        return cls(
            **VersionDetail.show(row).model_dump(),
            model=row.model.name,
            version=row.number,
            created=created,
            routes=[_route(item) for item in deployments.select_related("version").order_by("role")],
        )


class AliasOut(Schema):
    """What an alias means."""

    alias: str
    version: int
    revision: int

    @classmethod
    def show(cls, row: ModelAlias) -> AliasOut:
        """Return what the API says about ``row``."""
        return cls(alias=row.name, version=row.version.number, revision=row.revision)


class AliasMoveOut(Schema):
    """That an alias came to mean another version."""

    alias: str
    version: int | None
    before: int | None
    by: str
    reason: str
    at: datetime

    @classmethod
    def show(cls, row: AliasMove) -> AliasMoveOut:
        """Return what the API says about ``row``."""
        return cls(
            alias=row.name, version=_number(row.version), before=_number(row.before), by=row.by_label,
            reason=row.reason, at=row.created_at,
        )  # fmt: skip


class RolloutOut(Schema):
    """How a model was served in an environment from some moment on."""

    environment: str
    number: int
    cause: str
    champion: int | None
    routes: list[RouteOut]
    rules: dict[str, Any]
    by: str
    reason: str
    at: datetime

    @classmethod
    def show(cls, row: Rollout) -> RolloutOut:
        """Return what the API says about ``row``."""
        return cls(
            environment=row.environment.key, number=row.number, cause=row.cause,
            champion=_number(row.champion),
            routes=[RouteOut.model_validate(item) for item in row.routes],
            rules=row.rules, by=row.by_label, reason=row.reason, at=row.created_at,
        )  # fmt: skip


class DeploymentOut(Schema):
    """How a model is served in an environment now."""

    environment: str
    champion: int | None
    fallback: int | None = Field(description="The version that a rollback of the champion leads to")
    routes: list[RouteOut]
    rules: ServingSpec
    rollout: int | None = Field(description="Number of the rollout in force")
    by: str
    reason: str
    at: datetime | None
    revision: int = Field(description="What a change of routes, rules or roles asks for: the rollout's number, or 0")

    @classmethod
    def show(cls, model: Model, deployments: Iterable[Deployment]) -> DeploymentOut:
        """Return what the API says about a model in the environment of ``deployments``, of which there are some."""
        rows = list(deployments)
        environment = rows[0].environment
        rollout = newest_rollout(model, environment.pk)
        fallback = find_fallback(model, environment.pk, protected=environment.protected)
        routes = [_route(row) for row in rows]
        return cls(
            environment=environment.key,
            champion=_number(rollout.champion) if rollout else None,
            fallback=_number(fallback),
            routes=routes,
            rules=rules_of(rollout),
            rollout=rollout.number if rollout else None,
            by=rollout.by_label if rollout else "",
            reason=rollout.reason if rollout else "",
            at=rollout.created_at if rollout else None,
            revision=rollout.number if rollout else 0,
        )


class PushIn(ReasonIn):
    """A version to be registered: its manifest, and the digests of what was put before."""

    environment: str
    text: str = Field(max_length=1 << 20, description="model.yaml")
    artifact_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    profile_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    hold: bool = Field(False, description="Keep it from taking traffic where a new version would")


class RoutesIn(TargetIn):
    """Every route of a model in an environment; what is not named is no longer served."""

    routes: list[RouteSpec] = Field(min_length=1, max_length=100)
    pinned: list[int] = Field([], max_length=100, description="Versions that answer only where the path names them")


class RulesIn(TargetIn):
    """The rules by which a model is served in an environment; members left out have their defaults."""

    rules: dict[str, Any]


class PromoteIn(TargetIn):
    """Where a version is promoted; with a weight it is a canary or a shadow beside the champion."""

    role: Literal["primary", "canary", "shadow", "pinned"] = "primary"
    weight_bps: int = Field(10_000, ge=0, le=10_000)


class RollbackIn(TargetIn):
    """Where to take back what was rolled out last; ``version`` takes out this one."""

    version: int | None = None


class ApproveIn(ChangeIn):
    """Why a version may be served in protected environments; ``override`` lets failed checks pass."""

    override: bool = False


class TagsIn(Schema):
    """Tags to set; null takes one away, and those not named stay."""

    tags: dict[str, str | None] = Field(max_length=100, examples=[{"team": "operations", "draft": None}])
    revision: int | None = Field(None, description=SEEN)


class AliasIn(ChangeIn):
    """What an alias is to mean; the revision is the alias's own, 0 where there is none yet."""

    version: int


def _number(version: ModelVersion | None) -> int | None:
    return version.number if version is not None else None


def _route(row: Deployment) -> RouteOut:
    return RouteOut(version=row.version.number, role=row.role, weight_bps=row.weight_bps)  # type: ignore[arg-type]


def _aliases(model: Model) -> dict[str, int]:
    return {alias.name: alias.version.number for alias in model.aliases.select_related("version")}
