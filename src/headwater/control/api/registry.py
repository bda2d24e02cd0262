"""Models and their versions: pushing, approving, checking, aliases and tags. Traffic lies in ``deployments``."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Query, Router, Status

from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.model_schemas import (
    AliasIn,
    AliasMoveOut,
    AliasOut,
    ApproveIn,
    CheckOut,
    LineageOut,
    ModelOut,
    PushIn,
    PushOut,
    TagsIn,
    VersionDetail,
    VersionOut,
)
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import LOCKED, check_number, check_revision
from headwater.control.api.schemas import ChangeIn
from headwater.control.registry.actions import (
    approve_version,
    archive_version,
    move_alias,
    record_checks,
    remove_alias,
    tag_model,
    tag_version,
)
from headwater.control.registry.aliases import find_alias
from headwater.control.registry.models import AliasMove, Model, ModelAlias, ModelVersion
from headwater.control.registry.queries import list_dependents
from headwater.core.errors import HeadwaterError

router = Router(tags=["Models"])
Paging = Annotated[PageQuery, Query(...)]
PROJECT = "/{org}/projects/{project}"
MODELS = PROJECT + "/models"
MODEL = MODELS + "/{model}"
VERSION = MODEL + "/versions/{int:number}"


class LineageQuery(PageQuery):
    """Whose readers are asked for."""

    dataset: str | None = None
    view: str | None = None


@router.get(MODELS, response=Page[ModelOut])
def list_models(request: HttpRequest, org: str, project: str, page: Paging) -> Page[ModelOut]:
    """List a project's models."""
    caller = caller_of(request)
    home = caller.project(org, project)
    caller.need("model.read", home)
    return take_page(Model.objects.for_org(home.org_id).filter(project=home), page, ModelOut.show)


@router.post(MODELS, response={201: PushOut, 200: PushOut})
def post_model(request: HttpRequest, org: str, project: str, body: PushIn) -> Status[PushOut]:
    """Register a version, and the model if it is new; 200 where this very version is there already.

    Artifact and profile are put to `/artifacts/{sha256}` first. A new version takes all traffic where that needs no
    approval, unless `hold` is set or one of its own checks fails.
    """
    # Reading a manifest and running an artifact load what an idle control process should not hold.
    from headwater.control.catalog.push import push_model  # noqa: PLC0415

    caller = caller_of(request)
    environment = caller.environment(org, project, body.environment)
    caller.need("model.write", environment)
    file = {name: getattr(body, name) for name in ("text", "artifact_sha256", "profile_sha256", "hold")}
    pushed = push_model(actor=caller.actor, environment=environment, file=file)
    answer = PushOut.show(pushed.version, environment, created=pushed.created)
    return Status(201 if pushed.created else 200, answer)


@router.get(PROJECT + "/lineage", response=Page[LineageOut])
def list_lineage(
    request: HttpRequest, org: str, project: str, query: Annotated[LineageQuery, Query(...)]
) -> Page[LineageOut]:
    """List which versions were trained on a dataset or read a feature view; without either, all that is known."""
    caller = caller_of(request)
    home = caller.project(org, project)
    caller.need("model.read", home)
    edges = list_dependents(home, dataset=query.dataset, view=query.view)
    return take_page(edges, query, LineageOut.show, newest_first=True)


@router.get(MODEL, response=ModelOut)
def get_model(request: HttpRequest, org: str, project: str, model: str) -> ModelOut:
    """Show one model."""
    return ModelOut.show(caller_of(request).model(org, project, model))


@router.patch(MODEL + "/tags", response=ModelOut)
def patch_model_tags(request: HttpRequest, org: str, project: str, model: str, body: TagsIn) -> ModelOut:
    """Set tags of a model."""
    caller = caller_of(request)
    row = caller.model(org, project, model)
    check_revision(request, row, body.revision)
    return ModelOut.show(tag_model(actor=caller.actor, model=row, tags=body.tags))


@router.get(MODEL + "/alias-moves", response=Page[AliasMoveOut])
def list_alias_moves(request: HttpRequest, org: str, project: str, model: str, page: Paging) -> Page[AliasMoveOut]:
    """List what a model's aliases meant, newest first."""
    row = caller_of(request).model(org, project, model)
    moves = AliasMove.objects.for_org(row.org_id).filter(model=row).select_related("version", "before")
    return take_page(moves, page, AliasMoveOut.show, newest_first=True)


@router.get(MODEL + "/aliases", response=Page[AliasOut])
def list_aliases(request: HttpRequest, org: str, project: str, model: str, page: Paging) -> Page[AliasOut]:
    """List what a model's aliases mean."""
    row = caller_of(request).model(org, project, model)
    aliases = ModelAlias.objects.for_org(row.org_id).filter(model=row).select_related("version")
    return take_page(aliases, page, AliasOut.show)


@router.put(MODEL + "/aliases/{alias}", response=ModelOut)
def put_alias(request: HttpRequest, org: str, project: str, model: str, alias: str, body: AliasIn) -> ModelOut:
    """Let an alias mean a version."""
    caller = caller_of(request)
    version = find_numbered(caller, org, project, model, body.version)
    known = find_alias(version.model, alias)
    check_number(request, known.revision if known else 0, f"alias {alias[:64]!r}", body.revision)
    move_alias(actor=caller.actor, version=version, name=alias, reason=body.reason)
    return ModelOut.show(version.model)


@router.delete(MODEL + "/aliases/{alias}", response=ModelOut, openapi_extra=LOCKED)
def delete_alias(request: HttpRequest, org: str, project: str, model: str, alias: str) -> ModelOut:
    """Let an alias mean nothing any more."""
    caller = caller_of(request)
    row = caller.model(org, project, model)
    found = find_alias(row, alias)
    if found is None:
        raise HeadwaterError("not_found", f"{row.name!r} has no alias {alias[:64]!r}")
    check_revision(request, found)
    remove_alias(actor=caller.actor, alias=found)
    return ModelOut.show(row)


@router.get(MODEL + "/versions", response=Page[VersionOut])
def list_versions(request: HttpRequest, org: str, project: str, model: str, page: Paging) -> Page[VersionOut]:
    """List a model's versions, newest first."""
    row = caller_of(request).model(org, project, model)
    versions = ModelVersion.objects.for_org(row.org_id).filter(model=row)
    return take_page(versions, page, VersionOut.show, newest_first=True)


@router.get(VERSION, response=VersionDetail)
def get_version(request: HttpRequest, org: str, project: str, model: str, number: int) -> VersionDetail:
    """Show one version with its card, checks, approvals and lineage."""
    return VersionDetail.show(find_numbered(caller_of(request), org, project, model, number))


@router.post(VERSION + "/checks", response=list[CheckOut])
def post_checks(request: HttpRequest, org: str, project: str, model: str, number: int) -> list[CheckOut]:
    """Run a version's checks again."""
    from headwater.control.catalog.push import check_again  # noqa: PLC0415 - loads what idle processes do not hold

    caller = caller_of(request)
    row = find_numbered(caller, org, project, model, number)
    caller.need("model.write", row)
    checks = record_checks(actor=caller.actor, version=row, results=check_again(row))
    return [CheckOut.show(check) for check in checks]


@router.patch(VERSION + "/tags", response=VersionOut)
def patch_version_tags(
    request: HttpRequest, org: str, project: str, model: str, number: int, body: TagsIn
) -> VersionOut:
    """Set tags of a version."""
    caller = caller_of(request)
    row = find_numbered(caller, org, project, model, number)
    check_revision(request, row, body.revision)
    return VersionOut.show(tag_version(actor=caller.actor, version=row, tags=body.tags))


@router.post(VERSION + "/approve", response=VersionDetail)
def post_approve(
    request: HttpRequest, org: str, project: str, model: str, number: int, body: ApproveIn
) -> VersionDetail:
    """Allow a version that somebody else pushed in protected environments."""
    caller = caller_of(request)
    row = find_numbered(caller, org, project, model, number)
    check_revision(request, row, body.revision)
    approved = approve_version(actor=caller.actor, version=row, reason=body.reason, override=body.override)
    return VersionDetail.show(approved)


@router.post(VERSION + "/archive", response=VersionOut)
def post_archive(request: HttpRequest, org: str, project: str, model: str, number: int, body: ChangeIn) -> VersionOut:
    """Take a version out of use; refused while it is served or an alias names it."""
    caller = caller_of(request)
    row = find_numbered(caller, org, project, model, number)
    check_revision(request, row, body.revision)
    return VersionOut.show(archive_version(actor=caller.actor, version=row, reason=body.reason))


def find_numbered(caller: Caller, org: str, project: str, model: str, number: int) -> ModelVersion:
    """Return a version by its number; the caller needs ``model.read``."""
    home = caller.model(org, project, model)
    rows = ModelVersion.objects.for_org(home.org_id).filter(model=home, number=number)
    row: ModelVersion | None = rows.select_related("model__project").first()
    if row is None:
        raise HeadwaterError("not_found", f"{home.name!r} has no version {number}")
    return row
