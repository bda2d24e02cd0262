"""Models, their versions and the routes among them. Versions are pushed by applying a project."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.schemas import ReasonIn, TargetIn
from headwater.control.registry.actions import approve_version, archive_version, promote_version, route_model
from headwater.control.registry.models import Deployment, Model, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import RouteSpec

router = Router(tags=["Models"])
Paging = Annotated[PageQuery, Query(...)]
MODELS = "/{org}/projects/{project}/models"
MODEL = MODELS + "/{model}"
VERSION = MODEL + "/versions/{int:number}"


class ModelOut(Schema):
    """A model, its aliases and its routes."""

    id: str
    name: str
    description: str
    aliases: dict[str, int] = Field(description="Alias to version number")
    routes: dict[str, list[RouteSpec]] = Field(description="Environment to its routes")
    revision: int

    @classmethod
    def show(cls, row: Model) -> ModelOut:
        """Return what the API says about ``row``."""
        routes: dict[str, list[RouteSpec]] = {}
        for item in Deployment.objects.for_org(row.org_id).filter(model=row).select_related("environment", "version"):
            route = {"version": item.version.number, "role": item.role, "weight_bps": item.weight_bps}
            routes.setdefault(item.environment.key, []).append(RouteSpec.model_validate(route))
        aliases = {alias.name: alias.version.number for alias in row.aliases.select_related("version")}
        return cls(
            id=row.public_id, name=row.name, description=row.description, aliases=aliases, routes=routes,
            revision=row.revision,
        )  # fmt: skip


class VersionOut(Schema):
    """A sealed version of a model."""

    id: str
    number: int
    framework: str
    artifact_sha256: str
    state: str
    inputs: dict[str, Any]
    outputs: list[dict[str, Any]]
    metrics: dict[str, Any]
    created_at: datetime
    revision: int

    @classmethod
    def show(cls, row: ModelVersion) -> VersionOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id,
            number=row.number,
            framework=row.framework,
            artifact_sha256=row.artifact_sha256,
            state=row.state,
            inputs=row.inputs,
            outputs=row.outputs,
            metrics=row.metrics,
            created_at=row.created_at,
            revision=row.revision,
        )


class RoutesIn(TargetIn):
    """Every route of a model in an environment; what is not named is no longer served."""

    routes: list[RouteSpec] = Field(min_length=1, max_length=100)


@router.get(MODELS, response=Page[ModelOut])
def list_models(request: HttpRequest, org: str, project: str, page: Paging) -> Page[ModelOut]:
    """List a project's models."""
    caller = caller_of(request)
    home = caller.project(org, project)
    caller.need("model.read", home)
    return take_page(Model.objects.for_org(home.org_id).filter(project=home), page, ModelOut.show)


@router.get(MODEL, response=ModelOut)
def get_model(request: HttpRequest, org: str, project: str, model: str) -> ModelOut:
    """Show one model."""
    return ModelOut.show(caller_of(request).model(org, project, model))


@router.put(MODEL + "/routes", response=ModelOut)
def put_routes(request: HttpRequest, org: str, project: str, model: str, body: RoutesIn) -> ModelOut:
    """Replace the routes of a model in an environment."""
    caller = caller_of(request)
    row = caller.model(org, project, model)
    environment = caller.environment(org, project, body.environment)
    route_model(actor=caller.actor, model=row, environment=environment, routes=body.routes, reason=body.reason)
    return ModelOut.show(row)


@router.get(MODEL + "/versions", response=Page[VersionOut])
def list_versions(request: HttpRequest, org: str, project: str, model: str, page: Paging) -> Page[VersionOut]:
    """List a model's versions, newest first."""
    row = caller_of(request).model(org, project, model)
    versions = ModelVersion.objects.for_org(row.org_id).filter(model=row)
    return take_page(versions, page, VersionOut.show, newest_first=True)


@router.get(VERSION, response=VersionOut)
def get_version(request: HttpRequest, org: str, project: str, model: str, number: int) -> VersionOut:
    """Show one version."""
    return VersionOut.show(_version(caller_of(request), org, project, model, number))


@router.post(VERSION + "/promote", response=VersionOut)
def post_promote(request: HttpRequest, org: str, project: str, model: str, number: int, body: TargetIn) -> VersionOut:
    """Send all of an environment's traffic to this version and make it the champion."""
    caller = caller_of(request)
    row = _version(caller, org, project, model, number)
    environment = caller.environment(org, project, body.environment)
    return VersionOut.show(
        promote_version(actor=caller.actor, version=row, environment=environment, reason=body.reason)
    )


@router.post(VERSION + "/approve", response=VersionOut)
def post_approve(request: HttpRequest, org: str, project: str, model: str, number: int, body: ReasonIn) -> VersionOut:
    """Allow this version in protected environments."""
    caller = caller_of(request)
    row = _version(caller, org, project, model, number)
    return VersionOut.show(approve_version(actor=caller.actor, version=row, reason=body.reason))


@router.post(VERSION + "/archive", response=VersionOut)
def post_archive(request: HttpRequest, org: str, project: str, model: str, number: int, body: ReasonIn) -> VersionOut:
    """Take this version out of use."""
    caller = caller_of(request)
    row = _version(caller, org, project, model, number)
    return VersionOut.show(archive_version(actor=caller.actor, version=row, reason=body.reason))


def _version(caller: Caller, org: str, project: str, model: str, number: int) -> ModelVersion:
    home = caller.model(org, project, model)
    rows = ModelVersion.objects.for_org(home.org_id).filter(model=home, number=number)
    row: ModelVersion | None = rows.select_related("model__project").first()
    if row is None:
        raise HeadwaterError("not_found", f"{home.name!r} has no version {number}")
    return row
