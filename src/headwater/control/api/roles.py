"""Roles: the built-in ones, and an organisation's own to be made, changed and removed."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from headwater.control.access.models import Role
from headwater.control.access.queries import get_role
from headwater.control.access.roles import change_role_permissions, create_role, remove_role, require_own, uses_of
from headwater.control.api.access_schemas import RoleIn, RoleOut
from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import ChangeIn
from headwater.control.orgs.models import Organization

router = Router(tags=["Access"])
ROLE = "/{org}/roles/{role}"


class RolePatch(ChangeIn):
    """What a role is to allow from now on."""

    permissions: list[str] = Field(max_length=200, examples=[["dataset.read", "endpoint.invoke"]])


class RoleRemovalIn(ChangeIn):
    """What is to take a role's place."""

    instead: str | None = Field(
        None, max_length=63, description="The role that its holders get; without one, a role in use answers 409"
    )


class RoleUseOut(Schema):
    """Something that gives or names a role. `movable`: another role can take its place as the role is removed."""

    label: str
    movable: bool


class RoleUsesOut(Schema):
    """Where a role is given or named now."""

    uses: list[RoleUseOut]


@router.get("/{org}/roles", response=Page[RoleOut])
def list_roles(request: HttpRequest, org: str, page: Annotated[PageQuery, Query(...)]) -> Page[RoleOut]:
    """List the built-in roles and the organisation's own."""
    _, home = _home(request, org)
    return take_page(Role.standing.of(home), page, RoleOut.show)


@router.post("/{org}/roles", response={201: RoleOut})
def post_role(request: HttpRequest, org: str, body: RoleIn) -> Status[RoleOut]:
    """Make a role of the organisation's own."""
    caller = caller_of(request)
    home = caller.organization(org)
    row = create_role(actor=caller.actor, org=home, name=body.name, permissions=body.permissions)
    return Status(201, RoleOut.show(row))


@router.get(ROLE, response=RoleOut)
def get_role_by_name(request: HttpRequest, org: str, role: str) -> RoleOut:
    """Show one role: built in, or the organisation's own."""
    _, home = _home(request, org)
    return RoleOut.show(get_role(role, home))


@router.get(ROLE + "/uses", response=RoleUsesOut)
def get_role_uses(request: HttpRequest, org: str, role: str) -> RoleUsesOut:
    """Say where a role of the organisation's own is given or named."""
    _, home = _home(request, org)
    found = uses_of(_own(role, home))
    return RoleUsesOut(uses=[RoleUseOut(label=use.label, movable=use.move is not None) for use in found])


@router.patch(ROLE, response=RoleOut)
def patch_role(request: HttpRequest, org: str, role: str, body: RolePatch) -> RoleOut:
    """Let a role of the organisation's own allow something else; its name stays."""
    caller, home = _home(request, org)
    row = _own(role, home)
    check_revision(request, row, body.revision)
    changed = change_role_permissions(actor=caller.actor, role=row, permissions=body.permissions, reason=body.reason)
    return RoleOut.show(changed)


@router.post(ROLE + "/remove", response=RoleOut)
def post_remove_role(request: HttpRequest, org: str, role: str, body: RoleRemovalIn) -> RoleOut:
    """Let a role of the organisation's own be given no more; wherever it is given, `instead` takes its place."""
    caller, home = _home(request, org)
    row = _own(role, home)
    check_revision(request, row, body.revision)
    instead = get_role(body.instead, home) if body.instead is not None else None
    return RoleOut.show(remove_role(actor=caller.actor, role=row, instead=instead, reason=body.reason))


def _home(request: HttpRequest, org: str) -> tuple[Caller, Organization]:
    caller = caller_of(request)
    home = caller.organization(org)
    caller.need("member.read", home)
    return caller, home


def _own(name: str, org: Organization) -> Role:
    role = get_role(name, org)
    require_own(role)
    return role
