"""What can be done to groups: make, fill, empty. Whoever changes who is in one must hold what it gives."""

from __future__ import annotations

from headwater.control.access.actions import require_holding
from headwater.control.access.models import Grant, Group, GroupMember, ServiceAccount
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Membership, Organization
from headwater.core.errors import HeadwaterError


@action("access.group.created", permission="member.write", on="org")
def create_group(*, actor: Actor, org: Organization, name: str, description: str = "") -> Group:
    """Make a group; nobody is in it yet, and it gives nothing."""
    group = Group(org=org, name=name, description=description)
    group.save()
    return group


@action("access.group.member_added", permission="member.write", on="group")
def add_to_group(
    *,
    actor: Actor,
    group: Group,
    membership: Membership | None = None,
    service_account: ServiceAccount | None = None,
    managed_by: str = GroupMember.Manager.MANUAL,
    reason: str = "",
) -> GroupMember:
    """Put a member or a service account into a group.

    Raises:
        HeadwaterError: ``forbidden`` when the group gives more than the actor holds, ``conflict`` when it is in
            already, ``invalid_parameter`` for somebody of another organisation.
    """
    _require_what_it_gives(actor, group)
    for principal in (membership, service_account):
        if principal is not None and principal.org_id != group.org_id:
            raise HeadwaterError("invalid_parameter", f"{principal} belongs to another organisation")
    place = GroupMember(
        org_id=group.org_id,
        group=group,
        membership=membership,
        service_account=service_account,
        managed_by=managed_by,
    )
    place.save()
    return place


@action("access.group.member_removed", permission="member.write", on="place")
def remove_from_group(
    *, actor: Actor, place: GroupMember, managed_by: str = GroupMember.Manager.MANUAL, reason: str = ""
) -> None:
    """Take a member or a service account out of a group.

    Raises:
        HeadwaterError: ``conflict`` when a directory or a claim put it there, ``forbidden``.
    """
    if place.managed_by != managed_by:
        raise HeadwaterError(
            "conflict",
            f"{place} is managed by {place.get_managed_by_display()}",
            hint="change it there, or it would come back",
        )
    _require_what_it_gives(actor, place.group)
    place.remove()


@action("access.group.removed", permission="member.write", on="group")
def remove_group(*, actor: Actor, group: Group, reason: str = "") -> None:
    """Delete a group that nobody is in and that was never given a role.

    Raises:
        HeadwaterError: ``conflict``.
    """
    if GroupMember.objects.for_org(group.org_id).filter(group=group).exists():
        raise HeadwaterError("conflict", f"{group} has members", hint="take them out first")
    if Grant.objects.for_org(group.org_id).filter(group=group).exists():
        raise HeadwaterError(
            "conflict",
            f"{group} was given roles, and its history names it",
            hint="revoke its grants and leave it empty",
        )
    group.remove()


def _require_what_it_gives(actor: Actor, group: Group) -> None:
    given = Grant.objects.for_org(group.org_id).filter(group=group, revoked_at=None)
    for item in given.select_related("role", "org", "project", "environment"):
        require_holding(actor, item.role.permissions, item.environment or item.project or item.org)
