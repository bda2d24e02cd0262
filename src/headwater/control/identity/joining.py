"""Becoming a member: by invitation, by a proved address, or through the organisation's identity provider."""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from django.db import transaction
from django.utils import timezone

from headwater.control.access.actions import grant
from headwater.control.access.models import Role
from headwater.control.identity.actions import create_user, record_linked
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM, Actor, action, bookkeeping
from headwater.control.orgs.models import Membership, Organization
from headwater.control.sso.models import IdentityProvider
from headwater.control.sso.rules import provider_for, verified_domain
from headwater.core.errors import HeadwaterError


@action("identity.membership.joined", permission=None)
def join(
    *, actor: Actor, org: Organization, user: User, role: Role, source: Membership.Source, reason: str = ""
) -> Membership:
    """Make ``user`` an active member with ``role``.

    Who is a member keeps what they have, and who is suspended stays so: coming in again is no way around that.
    """
    membership: Membership | None = Membership.objects.for_org(org).filter(user=user).first()
    if membership is None:
        membership = Membership(org=org, user=user, status=Membership.Status.ACTIVE, source=source)
        membership.save()
        grant(actor=SYSTEM, scope=org, role=role, membership=membership, reason=reason)
    elif membership.status == Membership.Status.INVITED:
        membership.change(status=Membership.Status.ACTIVE)
    return membership


def join_by_domain(user: User) -> Membership | None:
    """Make somebody whose address is proved a member of the organisation that lets its domain's people in."""
    domain = verified_domain(user.email)
    if domain is None or not domain.auto_join or domain.org.status != Organization.Status.ACTIVE:
        return None
    assert domain.default_role is not None
    return join(
        actor=SYSTEM, org=domain.org, user=user, role=domain.default_role, source=Membership.Source.DOMAIN,
        reason=f"proved an address of {domain}",
    )  # fmt: skip


def admit(
    *, provider: IdentityProvider, subject: str, email: str, email_verified: object, name: str = ""
) -> tuple[User, SocialAccount]:
    """Return the user that an identity provider signed in, made and let in as a member if need be.

    An organisation's provider speaks for the organisation's own verified domains alone: what it says about any other
    address is refused, for it could name anybody.

    Raises:
        HeadwaterError: ``forbidden`` saying why somebody is not let in.
    """
    with transaction.atomic():
        account = SocialAccount.objects.filter(provider=provider.public_id, uid=subject).select_related("user").first()
        if account is None:
            user = _user_for(provider, email, email_verified, name)
            account = SocialAccount.objects.create(
                user=user, provider=provider.public_id, uid=subject, extra_data={"email": email}
            )
            record_linked(actor=SYSTEM, user=user, provider=provider, subject=subject)
        user = account.user
        _check_covered(provider, user.email)
        if not user.is_active:
            raise HeadwaterError("forbidden", f"{user.email} may not sign in", hint="ask an administrator")
        join(
            actor=SYSTEM, org=provider.org, user=user, role=provider.default_role, source=Membership.Source.JIT,
            reason=f"signed in through {provider}",
        )  # fmt: skip
        with bookkeeping():
            IdentityProvider.unscoped.filter(pk=provider.pk).update(used_at=timezone.now())
    return user, account


def _user_for(provider: IdentityProvider, email: str, email_verified: object, name: str) -> User:
    """Return the user with a proved address, made if there is none."""
    if not email:
        raise HeadwaterError("forbidden", f"{provider} did not say who you are", hint="let it send the claim `email`")
    if email_verified is not True:
        raise HeadwaterError(
            "forbidden",
            f"{provider} does not vouch for the address {email}",
            hint="let it send the claim `email_verified: true`, for addresses that it has checked",
        )
    _check_covered(provider, email)
    found: User | None = User.objects.filter(email=email.strip().lower()).first()
    return found or create_user(actor=SYSTEM, email=email, name=name[:200])


def _check_covered(provider: IdentityProvider, email: str) -> None:
    covering = provider_for(email)
    if covering is None or covering.pk != provider.pk:
        raise HeadwaterError(
            "forbidden",
            f"{provider} does not speak for {email}",
            hint=f"only addresses of verified domains of {provider.org} come in this way",
        )
