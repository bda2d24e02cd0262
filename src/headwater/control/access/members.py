"""What can be done to members: invite, accept, suspend, give another role. One active owner always stays."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from headwater.control.access.actions import grant, require_holding
from headwater.control.access.models import Grant, Role
from headwater.control.access.owners import keeping_an_owner
from headwater.control.kit.actions import Actor, action, note
from headwater.control.orgs.models import Membership, Organization


@action("orgs.membership.invited", permission="member.write", on="org")
def invite_member(*, actor: Actor, org: Organization, user: Any, role: Role) -> Membership:
    """Offer ``user`` a place with ``role``; it counts once accepted."""
    membership = Membership(org=org, user=user, status=Membership.Status.INVITED, source=Membership.Source.INVITE)
    membership.save()
    _set_role(actor, membership, role)
    return membership


@action("orgs.membership.added", permission=None)
def add_member(*, actor: Actor, org: Organization, user: Any, role: Role) -> Membership:
    """Make ``user`` an active member at once, as the first start does."""
    membership = Membership(org=org, user=user, status=Membership.Status.ACTIVE, source=Membership.Source.MANUAL)
    membership.save()
    _set_role(actor, membership, role)
    return membership


@action("orgs.membership.activated", permission="member.write", on="membership")
def activate_member(*, actor: Actor, membership: Membership, reason: str = "") -> Membership:
    """Let an invited or suspended member act."""
    membership.change(status=Membership.Status.ACTIVE)
    return membership


@action("orgs.membership.suspended", permission="member.write", on="membership")
def suspend_member(*, actor: Actor, membership: Membership, reason: str) -> Membership:
    """Let a member act no more.

    Raises:
        HeadwaterError: ``conflict`` for the last active owner, ``forbidden`` when the member holds more than the actor.
    """
    for item in Grant.objects.for_org(membership.org_id).filter(membership=membership, revoked_at=None):
        require_holding(actor, item.role.permissions, item.environment or item.project or membership.org)
    with keeping_an_owner(membership.org):
        membership.change(status=Membership.Status.SUSPENDED)
    return membership


@action("orgs.membership.role_changed", permission="member.write", on="membership")
def change_role(*, actor: Actor, membership: Membership, role: Role, reason: str = "") -> Membership:
    """Replace the member's role in the whole organisation.

    Raises:
        HeadwaterError: ``conflict`` for the last active owner, ``forbidden`` when a role holds more than the actor.
    """
    with keeping_an_owner(membership.org):
        _set_role(actor, membership, role)
    return membership


def _set_role(actor: Actor, membership: Membership, role: Role) -> None:
    held = list(
        Grant.objects.for_org(membership.org_id).filter(
            membership=membership, project=None, environment=None, resource="", revoked_at=None
        )
    )
    if [item.role_id for item in held] == [role.id]:
        return
    for item in held:
        if item.role_id != role.id:
            require_holding(actor, item.role.permissions, membership.org)
    note(membership, role=role.name)
    # First the new, then the old: whoever gives up a role may still do so with what it allowed.
    if role.id not in [item.role_id for item in held]:
        grant(actor=actor, scope=membership.org, role=role, membership=membership)
    for item in held:
        if item.role_id != role.id:
            item.change(revoked_at=timezone.now())
