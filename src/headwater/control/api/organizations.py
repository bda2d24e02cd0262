"""Organisations, projects, environments and members."""

from __future__ import annotations

from typing import Annotated

from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpRequest
from ninja import Query, Router, Status

from headwater.control.access.members import activate_member, change_role, invite_member, suspend_member
from headwater.control.access.queries import get_role
from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import (
    EnvironmentIn,
    EnvironmentOut,
    EnvironmentPatch,
    MemberIn,
    MemberOut,
    MemberPatch,
    OrganizationIn,
    OrganizationOut,
    ProjectIn,
    ProjectOut,
    ProjectPatch,
)
from headwater.control.orgs.actions import (
    change_protection,
    create_environment,
    create_project,
    rename_organization,
    rename_project,
)
from headwater.control.orgs.models import Membership
from headwater.core.errors import HeadwaterError

router = Router(tags=["Organisations"])
Paging = Annotated[PageQuery, Query(...)]


@router.get("", response=Page[OrganizationOut])
def list_organizations(request: HttpRequest, page: Paging) -> Page[OrganizationOut]:
    """List the organisations you belong to."""
    return take_page(caller_of(request).organizations(), page, OrganizationOut.show)


@router.get("/{org}", response=OrganizationOut)
def get_organization(request: HttpRequest, org: str) -> OrganizationOut:
    """Show one organisation."""
    return OrganizationOut.show(caller_of(request).organization(org))


@router.patch("/{org}", response=OrganizationOut)
def patch_organization(request: HttpRequest, org: str, body: OrganizationIn) -> OrganizationOut:
    """Rename an organisation; its slug stays."""
    caller = caller_of(request)
    row = caller.organization(org)
    check_revision(request, row, body.revision)
    return OrganizationOut.show(rename_organization(actor=caller.actor, org=row, name=body.name))


@router.get("/{org}/projects", response=Page[ProjectOut])
def list_projects(request: HttpRequest, org: str, page: Paging) -> Page[ProjectOut]:
    """List an organisation's projects."""
    caller = caller_of(request)
    return take_page(caller.projects(caller.organization(org)), page, ProjectOut.show)


@router.post("/{org}/projects", response={201: ProjectOut})
def post_project(request: HttpRequest, org: str, body: ProjectIn) -> Status[ProjectOut]:
    """Make a project."""
    caller = caller_of(request)
    row = create_project(actor=caller.actor, org=caller.organization(org), slug=body.slug, name=body.name)
    return Status(201, ProjectOut.show(row))


@router.get("/{org}/projects/{project}", response=ProjectOut)
def get_project(request: HttpRequest, org: str, project: str) -> ProjectOut:
    """Show one project."""
    return ProjectOut.show(caller_of(request).project(org, project))


@router.patch("/{org}/projects/{project}", response=ProjectOut)
def patch_project(request: HttpRequest, org: str, project: str, body: ProjectPatch) -> ProjectOut:
    """Rename a project; its slug stays."""
    caller = caller_of(request)
    row = caller.project(org, project)
    check_revision(request, row, body.revision)
    return ProjectOut.show(rename_project(actor=caller.actor, project=row, name=body.name))


@router.get("/{org}/projects/{project}/environments", response=Page[EnvironmentOut])
def list_environments(request: HttpRequest, org: str, project: str, page: Paging) -> Page[EnvironmentOut]:
    """List a project's environments."""
    caller = caller_of(request)
    return take_page(caller.environments(caller.project(org, project)), page, EnvironmentOut.show)


@router.post("/{org}/projects/{project}/environments", response={201: EnvironmentOut})
def post_environment(request: HttpRequest, org: str, project: str, body: EnvironmentIn) -> Status[EnvironmentOut]:
    """Make an environment."""
    caller = caller_of(request)
    home = caller.project(org, project)
    row = create_environment(actor=caller.actor, project=home, key=body.key, protected=body.protected)
    return Status(201, EnvironmentOut.show(row))


@router.get("/{org}/projects/{project}/environments/{environment}", response=EnvironmentOut)
def get_environment(request: HttpRequest, org: str, project: str, environment: str) -> EnvironmentOut:
    """Show one environment."""
    return EnvironmentOut.show(caller_of(request).environment(org, project, environment))


@router.patch("/{org}/projects/{project}/environments/{environment}", response=EnvironmentOut)
def patch_environment(
    request: HttpRequest, org: str, project: str, environment: str, body: EnvironmentPatch
) -> EnvironmentOut:
    """Protect an environment, or cease to."""
    caller = caller_of(request)
    row = caller.environment(org, project, environment)
    check_revision(request, row, body.revision)
    changed = change_protection(actor=caller.actor, environment=row, protected=body.protected, reason=body.reason)
    return EnvironmentOut.show(changed)


@router.get("/{org}/members", response=Page[MemberOut])
def list_members(request: HttpRequest, org: str, page: Paging) -> Page[MemberOut]:
    """List an organisation's members and their roles."""
    caller = caller_of(request)
    home = caller.organization(org)
    caller.need("member.read", home)
    return take_page(Membership.objects.for_org(home).select_related("user"), page, MemberOut.show)


@router.post("/{org}/members", response={201: MemberOut})
def post_member(request: HttpRequest, org: str, body: MemberIn) -> Status[MemberOut]:
    """Invite somebody who has an account."""
    caller = caller_of(request)
    home = caller.organization(org)
    caller.need("member.write", home)
    user = get_user_model().objects.filter(email=body.email.strip().lower()).first()
    if user is None:
        raise HeadwaterError(
            "not_found", f"nobody has the address {body.email!r}", hint="an administrator makes users first"
        )
    row = invite_member(actor=caller.actor, org=home, user=user, role=get_role(body.role, home))
    return Status(201, MemberOut.show(row))


@router.get("/{org}/members/{member}", response=MemberOut)
def get_member(request: HttpRequest, org: str, member: str) -> MemberOut:
    """Show one member."""
    return MemberOut.show(_member(caller_of(request), org, member))


@router.patch("/{org}/members/{member}", response=MemberOut)
def patch_member(request: HttpRequest, org: str, member: str, body: MemberPatch) -> MemberOut:
    """Give a member another role, suspend them, or let them act again."""
    caller = caller_of(request)
    row = _member(caller, org, member)
    check_revision(request, row, body.revision)
    with transaction.atomic():
        if body.role is not None:
            change_role(actor=caller.actor, membership=row, role=get_role(body.role, row.org), reason=body.reason)
        if body.status == "suspended":
            suspend_member(actor=caller.actor, membership=row, reason=body.reason)
        elif body.status == "active":
            activate_member(actor=caller.actor, membership=row, reason=body.reason)
    return MemberOut.show(row)


def _member(caller: Caller, org: str, member: str) -> Membership:
    home = caller.organization(org)
    caller.need("member.read", home)
    rows = Membership.objects.for_org(home).filter(pk=Membership.parse_id(member))
    row: Membership | None = rows.select_related("user", "org").first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no member {member[:100]!r}")
    return row
