"""The rules of signing in, asked wherever somebody could come in: one place, so that no route forgets one."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.db.models import Q, QuerySet
from django.utils import timezone

from headwater.control.access.models import Grant
from headwater.control.orgs.models import Membership, Organization
from headwater.control.sso.models import Domain, IdentityProvider, RecoveryOwner, SignInPolicy

#: What providers write into ``amr`` when somebody showed more than a password (RFC 8176).
STRONG_METHODS: Final = frozenset({"mfa", "otp", "hwk", "swk", "fpt", "face", "sc"})


def domain_of(email: str) -> str:
    """Return what follows the last @, in lower case and ASCII; empty when there is no host."""
    host = email.strip().lower().rpartition("@")[2].rstrip(".")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def verified_domain(email: str) -> Domain | None:
    """Return the verified domain that ``email`` belongs to. A suspended organisation's rules go on holding."""
    found: Domain | None = (
        Domain.unscoped.filter(name=domain_of(email), verified_at__isnull=False)
        .select_related("org", "default_role")
        .first()
    )
    return found


def provider_for(email: str) -> IdentityProvider | None:
    """Return the identity provider that signs in ``email``, if its domain's organisation has one."""
    domain = verified_domain(email)
    if domain is None:
        return None
    found: IdentityProvider | None = (
        IdentityProvider.objects.for_org(domain.org).filter(enabled=True).select_related("org", "default_role").first()
    )
    return found if found is not None and covers(found, domain.name) else None


def covers(provider: IdentityProvider, domain: str) -> bool:
    """Return whether ``provider`` signs in people of a domain of its organisation."""
    return not provider.domains or domain in provider.domains


def enforced_provider(email: str) -> IdentityProvider | None:
    """Return the provider through which alone ``email`` may come in."""
    provider = provider_for(email)
    return provider if provider is not None and provider.enforced else None


def may_recover(user: Any, provider: IdentityProvider) -> bool:
    """Return whether ``user`` is an owner kept for the day on which ``provider`` is away."""
    kept = RecoveryOwner.objects.for_org(provider.org_id).filter(membership__user_id=user.pk)
    return bool(kept.filter(membership__in=owners(provider.org_id)).exists())


def owners(org_id: uuid.UUID) -> QuerySet[Membership]:
    """Return the active members who own the whole organisation now."""
    owning = Grant.objects.for_org(org_id).filter(
        Q(expires_at=None) | Q(expires_at__gt=timezone.now()),
        role__org=None,
        role__name="owner",
        project=None,
        environment=None,
        revoked_at=None,
    )
    rows: QuerySet[Membership] = Membership.objects.for_org(org_id).filter(
        pk__in=owning.values("membership"), status=Membership.Status.ACTIVE, user__is_active=True
    )
    return rows


def came_through(provider: IdentityProvider, records: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a session's authentication ``records`` show that ``provider`` vouched for it."""
    return any(
        record.get("method") == "socialaccount" and record.get("provider") == provider.public_id for record in records
    )


def barred_from(user: Any, records: Iterable[Mapping[str, Any]]) -> IdentityProvider | None:
    """Return the provider that ``user`` must come through and has not; None: they may pass."""
    provider = enforced_provider(user.email)
    if provider is None or came_through(provider, records) or may_recover(user, provider):
        return None
    return provider


def has_second_factor(user: Any) -> bool:
    """Return whether ``user`` has an authenticator."""
    return bool(Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.TOTP).exists())


def mfa_required_by(user: Any) -> list[Organization]:
    """Return the organisations that ask ``user``, their active member, for a second factor."""
    policies = SignInPolicy.unscoped.filter(
        mfa_required=True,
        org__status=Organization.Status.ACTIVE,
        org__in=Membership.unscoped.filter(user_id=user.pk, status=Membership.Status.ACTIVE).values("org"),
    )
    return [policy.org for policy in policies.select_related("org")]
