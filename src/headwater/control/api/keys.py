"""Service accounts and API keys."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from django.db import transaction
from django.http import HttpRequest
from ninja import Query, Router, Status

from headwater.control.access.actions import (
    create_key,
    create_service_account,
    disable_service_account,
    enable_service_account,
    grant,
    revoke_key,
    rotate_key,
)
from headwater.control.access.models import ApiKey, ServiceAccount
from headwater.control.access.queries import get_role
from headwater.control.api.auth import caller_of
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import (
    ChangeIn,
    KeyIn,
    KeyOut,
    NewKeyOut,
    RotateIn,
    ServiceAccountIn,
    ServiceAccountOut,
)
from headwater.control.orgs.models import Environment, Project
from headwater.core.errors import HeadwaterError

router = Router(tags=["Keys"])
Paging = Annotated[PageQuery, Query(...)]
ACCOUNTS = "/{org}/projects/{project}/service-accounts"
_SHOWN = ("service_account", "user", "use", "rotated_from")
KEYS = "/{org}/projects/{project}/environments/{environment}/keys"


@router.get(ACCOUNTS, response=Page[ServiceAccountOut])
def list_service_accounts(request: HttpRequest, org: str, project: str, page: Paging) -> Page[ServiceAccountOut]:
    """List a project's service accounts."""
    caller = caller_of(request)
    home = caller.project(org, project)
    caller.need("key.read", home)
    return take_page(ServiceAccount.objects.for_org(home.org_id).filter(project=home), page, ServiceAccountOut.show)


@router.post(ACCOUNTS, response={201: ServiceAccountOut})
def post_service_account(
    request: HttpRequest, org: str, project: str, body: ServiceAccountIn
) -> Status[ServiceAccountOut]:
    """Make a service account, with a role on the project if one is named."""
    caller = caller_of(request)
    home = caller.project(org, project)
    with transaction.atomic():
        row = create_service_account(actor=caller.actor, project=home, name=body.name, description=body.description)
        if body.role is not None:
            grant(actor=caller.actor, scope=home, role=get_role(body.role, home.org), service_account=row)
    return Status(201, ServiceAccountOut.show(row))


@router.get(ACCOUNTS + "/{name}", response=ServiceAccountOut)
def get_service_account(request: HttpRequest, org: str, project: str, name: str) -> ServiceAccountOut:
    """Show one service account."""
    caller = caller_of(request)
    home = caller.project(org, project)
    caller.need("key.read", home)
    return ServiceAccountOut.show(_account(home, name))


@router.post(ACCOUNTS + "/{name}/disable", response=ServiceAccountOut)
def post_disable(request: HttpRequest, org: str, project: str, name: str, body: ChangeIn) -> ServiceAccountOut:
    """Let none of an account's keys open anything any more."""
    caller = caller_of(request)
    row = _account(caller.project(org, project), name)
    check_revision(request, row, body.revision)
    return ServiceAccountOut.show(disable_service_account(actor=caller.actor, account=row, reason=body.reason))


@router.post(ACCOUNTS + "/{name}/enable", response=ServiceAccountOut)
def post_enable(request: HttpRequest, org: str, project: str, name: str, body: ChangeIn) -> ServiceAccountOut:
    """Let an account's live keys open again what its grants give."""
    caller = caller_of(request)
    row = _account(caller.project(org, project), name)
    check_revision(request, row, body.revision)
    return ServiceAccountOut.show(enable_service_account(actor=caller.actor, account=row, reason=body.reason))


@router.get(KEYS, response=Page[KeyOut])
def list_keys(request: HttpRequest, org: str, project: str, environment: str, page: Paging) -> Page[KeyOut]:
    """List an environment's keys, without their secrets."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("key.read", home)
    rows = ApiKey.objects.for_org(home.org_id).filter(environment=home).select_related(*_SHOWN)
    return take_page(rows, page, KeyOut.show)


@router.post(KEYS, response={201: NewKeyOut})
def post_key(request: HttpRequest, org: str, project: str, environment: str, body: KeyIn) -> Status[NewKeyOut]:
    """Make a key. Its text is in this answer and never again."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    account = _account(home.project, body.service_account) if body.service_account else None
    if account is None and caller.key is not None:
        raise HeadwaterError(
            "invalid_parameter", "a key makes keys for service accounts only", hint="name a service_account"
        )
    row, text = create_key(
        actor=caller.actor,
        environment=home,
        name=body.name,
        service_account=account,
        user=None if account else caller.actor.subject,
        scopes=body.scopes,
        expires_at=body.expires_at,
        cidrs=body.cidrs,
        attributes=body.attributes,
        limits=body.limits,
    )
    return Status(201, NewKeyOut(**KeyOut.show(row).model_dump(), key=text))


@router.get(KEYS + "/{key}", response=KeyOut)
def get_key(request: HttpRequest, org: str, project: str, environment: str, key: str) -> KeyOut:
    """Show one key, without its secret."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("key.read", home)
    return KeyOut.show(_key(home, key))


@router.post(KEYS + "/{key}/rotate", response={201: NewKeyOut})
def post_rotate(
    request: HttpRequest, org: str, project: str, environment: str, key: str, body: RotateIn
) -> Status[NewKeyOut]:
    """Make the key that follows another. Both open until the overlap has passed; its text is here and never again."""
    caller = caller_of(request)
    row = _key(caller.environment(org, project, environment), key)
    check_revision(request, row, body.revision)
    made, text = rotate_key(
        actor=caller.actor,
        key=row,
        overlap=timedelta(hours=body.overlap_hours),
        expires_at=body.expires_at,
        reason=body.reason,
    )
    return Status(201, NewKeyOut(**KeyOut.show(made).model_dump(), key=text))


@router.post(KEYS + "/{key}/revoke", response=KeyOut)
def post_revoke(request: HttpRequest, org: str, project: str, environment: str, key: str, body: ChangeIn) -> KeyOut:
    """Close a key for good."""
    caller = caller_of(request)
    row = _key(caller.environment(org, project, environment), key)
    check_revision(request, row, body.revision)
    return KeyOut.show(revoke_key(actor=caller.actor, key=row, reason=body.reason))


def _key(environment: Environment, key: str) -> ApiKey:
    rows = ApiKey.objects.for_org(environment.org_id).filter(environment=environment, pk=ApiKey.parse_id(key))
    row: ApiKey | None = rows.select_related(*_SHOWN, "environment").first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no key {key[:100]!r}")
    return row


def _account(project: Project, name: str) -> ServiceAccount:
    rows = ServiceAccount.objects.for_org(project.org_id).filter(project=project, name=name)
    row: ServiceAccount | None = rows.first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no service account {name[:100]!r}")
    return row
