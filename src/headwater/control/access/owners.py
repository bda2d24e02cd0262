"""The rule that an organisation always has somebody who may do everything in it."""

from __future__ import annotations

from headwater.control.access.models import Grant
from headwater.control.orgs.models import Membership, Organization
from headwater.core.errors import HeadwaterError


def require_an_owner(org: Organization) -> None:
    """Raise ``conflict`` unless an active member owns ``org`` for good."""
    owners = Grant.objects.for_org(org).filter(
        role__org=None,
        role__name="owner",
        project=None,
        environment=None,
        revoked_at=None,
        expires_at=None,
        membership__status=Membership.Status.ACTIVE,
        membership__user__is_active=True,
    )
    if org.status == Organization.Status.ACTIVE and not owners.exists():
        raise HeadwaterError(
            "conflict", f"{org} would be left without an owner", hint="make somebody else an owner first"
        )
