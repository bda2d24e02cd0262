"""Roles that policies name: whoever removes one must say first what its holders see."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.control.access.models import Role
from headwater.control.access.roles import RoleUse, finds_role_uses
from headwater.control.orgs.models import Organization
from headwater.control.policies.models import AccessPolicy


@finds_role_uses
def policies_naming(role: Role, org: Organization) -> Iterable[RoleUse]:
    """Yield the policies in force that name ``role``."""
    rows = AccessPolicy.objects.for_org(org).filter(archived_at=None).select_related("environment__project")
    for policy in rows:
        if f"role:{role.name}" in policy.principals:
            yield RoleUse(f"the policy {policy.name} in {policy.environment}")
