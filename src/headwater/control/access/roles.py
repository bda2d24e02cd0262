"""What can be done to an organisation's own roles. Built-in ones are the release's, and stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from django.utils import timezone

from headwater.control.access.actions import grant, require_giving, require_holding, revoke_grant
from headwater.control.access.models import Grant, Role
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Organization
from headwater.core.errors import HeadwaterError
from headwater.core.permissions import BUILT_IN_ROLES

Move = Callable[[Actor, Role], None]
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class RoleUse:
    """Something that gives or names a role.

    Attributes:
        label: what, in words.
        move: puts another role in its place; None: whoever removes the role changes it first.
    """

    label: str
    move: Move | None = None


FindUses = Callable[[Role, Organization], Iterable[RoleUse]]
_finders: Final[list[FindUses]] = []


def finds_role_uses(find: FindUses) -> FindUses:
    """Register a function that finds uses of a role; apps above this one do so when they are ready."""
    if find not in _finders:
        _finders.append(find)
    return find


def uses_of(role: Role) -> list[RoleUse]:
    """Return everything that gives or names a role of an organisation's own now."""
    org = role.org
    return [] if org is None else [use for find in _finders for use in find(role, org)]


def require_own(role: Role) -> Organization:
    """Return whose role it is; raise ``conflict`` for what nobody may change."""
    if role.org is None:
        raise HeadwaterError(
            "conflict", f"{role} is a built-in role and stays as it is", hint="make a role of your own instead"
        )
    if role.archived_at is not None:
        raise HeadwaterError("conflict", f"the role {role} was removed already")
    return role.org


@action("access.role.created", permission="member.write", on="org")
def create_role(*, actor: Actor, org: Organization, name: str, permissions: Sequence[str]) -> Role:
    """Make a role of the organisation's own; nobody can make one that holds more than they do."""
    if name in BUILT_IN_ROLES:
        raise HeadwaterError("conflict", f"{name!r} is a built-in role", hint="choose another name")
    require_holding(actor, permissions, org)
    role = Role(org=org, name=name, permissions=sorted(set(permissions)))
    role.save()
    return role


@action("access.role.changed", permission="member.write", on="role")
def change_role_permissions(*, actor: Actor, role: Role, permissions: Sequence[str], reason: str = "") -> Role:
    """Let a role allow something else, for everybody who holds it, within a second.

    Its name stays: policies know it by that.

    Raises:
        HeadwaterError: ``forbidden`` when it holds more than the actor, before or afterwards; ``conflict`` for a
            built-in role or one that was removed; ``invalid_parameter`` for what is no permission.
    """
    org = require_own(role)
    require_holding(actor, [*role.permissions, *permissions], org)
    role.change(permissions=sorted(set(permissions)))
    return role


@action("access.role.removed", permission="member.write", on="role")
def remove_role(*, actor: Actor, role: Role, instead: Role | None = None, reason: str = "") -> Role:
    """Let a role be given no more, and put another in its place wherever it is given now.

    Args:
        actor: who removes it.
        role: the organisation's own.
        instead: what its holders, open invitations and newcomers get from now on; None will do for a role not in use.
        reason: why.

    Raises:
        HeadwaterError: ``conflict`` while it is in use and nothing is to take its place, or policies name it;
            ``forbidden`` when one of the roles holds more than the actor.
    """
    org = require_own(role)
    require_holding(actor, role.permissions, org)
    uses = uses_of(role)
    _refuse(role, [use for use in uses if use.move is None], "change that first")
    if instead is None:
        _refuse(role, uses, "say which role takes its place, or take it away there first")
    elif instead == role:
        raise HeadwaterError("invalid_parameter", "a role cannot take its own place")
    elif uses:
        require_giving(actor, instead, org)
    for use in uses:
        assert use.move is not None, "refused above"
        assert instead is not None, "refused above"
        use.move(actor, instead)
    role.change(archived_at=timezone.now())
    return role


def _refuse(role: Role, uses: Sequence[RoleUse], hint: str) -> None:
    if uses:
        named = ", ".join(use.label for use in uses[:_LISTED])
        more = f" and {len(uses) - _LISTED} more" if len(uses) > _LISTED else ""
        raise HeadwaterError("conflict", f"the role {role} is in use: {named}{more}", hint=hint)


@finds_role_uses
def _grants_of(role: Role, org: Organization) -> Iterable[RoleUse]:
    now = timezone.now()
    rows = Grant.objects.for_org(org).filter(role=role, revoked_at=None)
    related = ("role", "org", "project", "environment__project", "group", "membership__user", "service_account")
    for given in rows.select_related(*related):
        if given.is_live(now):
            yield RoleUse(f"{given.principal} on {given.scope}", partial(_replace, given))


def _replace(given: Grant, actor: Actor, role: Role) -> None:
    """Put a grant of ``role`` in the place of ``given``, for as long; one that lasts as long is left alone."""
    same = Grant.objects.for_org(given.org_id).filter(
        role=role, membership=given.membership, service_account=given.service_account, group=given.group,
        project=given.project, environment=given.environment, resource=given.resource, revoked_at=None,
    ).first()  # fmt: skip
    until = given.expires_at or _NEVER
    if same is None or (same.expires_at or _NEVER) < until:
        if same is not None:
            revoke_grant(actor=actor, given=same, reason=f"it takes the place of {given.role}, for longer")
        grant(
            actor=actor, scope=given.environment or given.project or given.org, role=role, resource=given.resource,
            membership=given.membership, service_account=given.service_account, group=given.group,
            expires_at=given.expires_at, reason=f"in place of {given.role}",
        )  # fmt: skip
    revoke_grant(actor=actor, given=given, reason=f"{role} takes its place")
