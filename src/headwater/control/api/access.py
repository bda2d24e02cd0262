"""Groups, grants, and why somebody can or cannot do something."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Status

from headwater.control.access.actions import grant, revoke_grant
from headwater.control.access.groups import add_to_group, create_group, remove_from_group, remove_group
from headwater.control.access.models import ApiKey, Grant, Group, GroupMember, ServiceAccount
from headwater.control.access.queries import get_role
from headwater.control.api.access_schemas import (
    ExplainIn,
    ExplainOut,
    GrantIn,
    GrantOut,
    GroupIn,
    GroupMemberIn,
    GroupMemberOut,
    GroupOut,
)
from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import LOCKED, check_revision
from headwater.control.api.schemas import ChangeIn
from headwater.control.orgs.models import Membership, Organization
from headwater.control.policies.explain import Question, explain, find_who
from headwater.core.errors import HeadwaterError

router = Router(tags=["Access"])
own = Router(tags=["Access"])
Paging = Annotated[PageQuery, Query(...)]
GROUP = "/{org}/groups/{group}"
_SHOWN = ("role", "membership__user", "service_account", "group", "project", "environment__project", "org")


@router.get("/{org}/groups", response=Page[GroupOut])
def list_groups(request: HttpRequest, org: str, page: Paging) -> Page[GroupOut]:
    """List an organisation's groups."""
    caller, home = _organization(request, org)
    caller.need("member.read", home)
    return take_page(Group.objects.for_org(home), page, GroupOut.show)


@router.post("/{org}/groups", response={201: GroupOut})
def post_group(request: HttpRequest, org: str, body: GroupIn) -> Status[GroupOut]:
    """Make a group."""
    caller, home = _organization(request, org)
    row = create_group(actor=caller.actor, org=home, name=body.name, description=body.description)
    return Status(201, GroupOut.show(row))


@router.get(GROUP, response=GroupOut)
def get_group(request: HttpRequest, org: str, group: str) -> GroupOut:
    """Show one group."""
    caller, home = _organization(request, org)
    return GroupOut.show(_group(caller, home, group))


@router.delete(GROUP, response={204: None}, openapi_extra=LOCKED)
def delete_group(request: HttpRequest, org: str, group: str) -> Status[None]:
    """Delete a group that is empty and was never given a role."""
    caller, home = _organization(request, org)
    row = _group(caller, home, group)
    check_revision(request, row)
    remove_group(actor=caller.actor, group=row)
    return Status(204, None)


@router.get(GROUP + "/members", response=Page[GroupMemberOut])
def list_group_members(request: HttpRequest, org: str, group: str, page: Paging) -> Page[GroupMemberOut]:
    """List who is in a group."""
    caller, home = _organization(request, org)
    row = _group(caller, home, group)
    rows = GroupMember.objects.for_org(home).filter(group=row).select_related("membership__user", "service_account")
    return take_page(rows, page, GroupMemberOut.show)


@router.post(GROUP + "/members", response={201: GroupMemberOut})
def post_group_member(request: HttpRequest, org: str, group: str, body: GroupMemberIn) -> Status[GroupMemberOut]:
    """Put a member or a service account into a group."""
    caller, home = _organization(request, org)
    row = _group(caller, home, group)
    membership, account = _principal(home, body.email, body.service_account)
    place = add_to_group(
        actor=caller.actor, group=row, membership=membership, service_account=account, reason=body.reason
    )
    return Status(201, GroupMemberOut.show(place))


@router.delete(GROUP + "/members/{place}", response={204: None}, openapi_extra=LOCKED)
def delete_group_member(request: HttpRequest, org: str, group: str, place: str) -> Status[None]:
    """Take somebody out of a group; `place` is the id of their membership of it."""
    caller, home = _organization(request, org)
    rows = GroupMember.objects.for_org(home).filter(group=_group(caller, home, group))
    row = rows.filter(pk=GroupMember.parse_id(place)).select_related("group").first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no {place[:100]!r} in the group")
    check_revision(request, row)
    remove_from_group(actor=caller.actor, place=row)
    return Status(204, None)


@router.get("/{org}/grants", response=Page[GrantOut])
def list_grants(request: HttpRequest, org: str, page: Paging) -> Page[GrantOut]:
    """List the grants of an organisation, those that ended too."""
    caller, home = _organization(request, org)
    caller.need("member.read", home)
    return take_page(Grant.objects.for_org(home).select_related(*_SHOWN), page, GrantOut.show)


@router.post("/{org}/grants", response={201: GrantOut})
def post_grant(request: HttpRequest, org: str, body: GrantIn) -> Status[GrantOut]:
    """Give a role to a member, a group or a service account."""
    caller, home = _organization(request, org)
    scope: Any = home
    if body.project is not None:
        scope = caller.project(org, body.project)
        if body.environment is not None:
            scope = caller.environment(org, body.project, body.environment)
    group = _group(caller, home, body.group) if body.group else None
    membership, account = (None, None) if group else _principal(home, body.email, body.service_account)
    row = grant(
        actor=caller.actor,
        scope=scope,
        role=get_role(body.role, home),
        membership=membership,
        service_account=account,
        group=group,
        resource=body.resource,
        expires_at=body.expires_at,
        reason=body.reason,
    )
    return Status(201, GrantOut.show(row))


@router.get("/{org}/grants/{given}", response=GrantOut)
def get_grant(request: HttpRequest, org: str, given: str) -> GrantOut:
    """Show one grant."""
    caller, home = _organization(request, org)
    return GrantOut.show(_grant(caller, home, given))


@router.post("/{org}/grants/{given}/revoke", response=GrantOut)
def post_revoke_grant(request: HttpRequest, org: str, given: str, body: ChangeIn) -> GrantOut:
    """Take a grant back."""
    caller, home = _organization(request, org)
    row = _grant(caller, home, given)
    check_revision(request, row, body.revision)
    return GrantOut.show(revoke_grant(actor=caller.actor, given=row, reason=body.reason))


@own.post("/explain", response=ExplainOut)
def post_explain(request: HttpRequest, body: ExplainIn) -> ExplainOut:
    """Say why somebody can or cannot do something, and which grant, key or policy decides.

    Everybody may ask about themselves; to ask about others takes ``member.read``.
    """
    caller = caller_of(request)
    environment = caller.environment(body.organization, body.project, body.environment)
    who = _who(caller, environment, body.principal)
    question = Question(who, body.permission, environment, body.resource, body.address, body.at)
    return ExplainOut.show(question, explain(question))


def _who(caller: Caller, environment: Any, text: str | None) -> Any:
    """Return who is asked about: the caller, or somebody whom the caller may know of."""
    mine = caller.key or caller.actor.subject
    if text is None:
        return mine
    if not caller.may("member.read", environment):
        found = find_who(environment, text) if text in _names_of(mine) else None
        if found is None:
            raise HeadwaterError(
                "forbidden", "who else may do what is for those with member.read", hint="ask about yourself"
            )
        return found
    return find_who(environment, text)


def _names_of(who: Any) -> set[str]:
    """Return the texts that name somebody: themselves, and whom their key speaks for."""
    if isinstance(who, ApiKey):
        return {who.public_id, f"hw_{who.key_prefix}", *_names_of(who.service_account or who.user)}
    return {who.public_id, who.name if isinstance(who, ServiceAccount) else who.email}


def _organization(request: HttpRequest, org: str) -> tuple[Caller, Organization]:
    caller = caller_of(request)
    return caller, caller.organization(org)


def _grant(caller: Caller, org: Organization, given: str) -> Grant:
    caller.need("member.read", org)
    rows = Grant.objects.for_org(org).select_related(*_SHOWN)
    row: Grant | None = rows.filter(pk=Grant.parse_id(given)).first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no grant {given[:100]!r}")
    return row


def _group(caller: Caller, org: Organization, name: str) -> Group:
    caller.need("member.read", org)
    row: Group | None = Group.objects.for_org(org).filter(name=name).first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no group {name[:100]!r}")
    return row


def _principal(
    org: Organization, email: str | None, account: str | None
) -> tuple[Membership | None, ServiceAccount | None]:
    """Return a member by address or a service account by id; one of both."""
    if (email is None) == (account is None):
        raise HeadwaterError(
            "invalid_parameter", "name an email, a service_account or, for grants, a group: one of them"
        )
    if email is not None:
        member = (
            Membership.objects.for_org(org).filter(user__email=email.strip().lower()).select_related("user").first()
        )
        if member is None:
            raise HeadwaterError("not_found", f"no member has the address {email[:100]!r}")
        return member, None
    row = ServiceAccount.objects.for_org(org).filter(pk=ServiceAccount.parse_id(str(account))).first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no service account {str(account)[:100]!r}")
    return None, row
