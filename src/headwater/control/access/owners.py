"""The rule that an organisation which has an owner keeps one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headwater.control.access.models import Grant
from headwater.control.orgs.models import Membership, Organization
from headwater.core.errors import HeadwaterError


def has_owner(org: Organization) -> bool:
    """Return whether an active member owns ``org`` for good."""
    return (
        Grant.objects.for_org(org)
        .filter(
            role__org=None,
            role__name="owner",
            project=None,
            environment=None,
            revoked_at=None,
            expires_at=None,
            membership__status=Membership.Status.ACTIVE,
            membership__user__is_active=True,
        )
        .exists()
    )


@contextmanager
def keeping_an_owner(*orgs: Organization) -> Iterator[None]:
    """Raise ``conflict`` if what happens inside takes the last owner from one of ``orgs``."""
    owned = [org for org in orgs if org.status == Organization.Status.ACTIVE and has_owner(org)]
    yield
    for org in owned:
        if not has_owner(org):
            raise HeadwaterError(
                "conflict", f"{org} would be left without an owner", hint="make somebody else an owner first"
            )
