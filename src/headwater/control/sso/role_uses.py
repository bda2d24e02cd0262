"""Roles that people get who come in by a domain or an identity provider."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from headwater.control.access.models import Role
from headwater.control.access.roles import RoleUse, finds_role_uses
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Organization
from headwater.control.sso.models import Domain, IdentityProvider


@finds_role_uses
def ways_in_with(role: Role, org: Organization) -> Iterable[RoleUse]:
    """Yield the domains and the identity provider that give ``role`` to newcomers."""
    for domain in Domain.objects.for_org(org).filter(default_role=role):
        yield RoleUse(f"those who join by {domain}", partial(_give_instead, domain))
    for provider in IdentityProvider.objects.for_org(org).filter(default_role=role):
        yield RoleUse(f"those who first sign in through {provider}", partial(_give_instead, provider))


def _give_instead(way_in: Domain | IdentityProvider, actor: Actor, role: Role) -> None:  # noqa: ARG001 - one shape
    way_in.change(default_role=role)
