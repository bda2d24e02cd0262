"""What can be done to domains, identity providers and the rules of signing in."""

from __future__ import annotations

from collections.abc import Sequence

from allauth.socialaccount.models import SocialAccount
from django.utils import timezone

from headwater.control.access.actions import require_giving
from headwater.control.access.models import Role
from headwater.control.kit.actions import Actor, action, bookkeeping, note
from headwater.control.kit.sealing import seal
from headwater.control.orgs.models import Membership, Organization
from headwater.control.sso.dns import Resolver, txt_records
from headwater.control.sso.fetching import discover
from headwater.control.sso.models import GRACE, Domain, IdentityProvider, RecoveryOwner, SignInPolicy
from headwater.control.sso.provider import SECRET_PURPOSE
from headwater.control.sso.rules import domain_of, owners
from headwater.control.sso.sessions import end_sessions_outside
from headwater.core.errors import HeadwaterError


@action("sso.domain.claimed", permission="organization.write", on="org")
def claim_domain(*, actor: Actor, org: Organization, name: str) -> Domain:
    """Say that a domain is the organisation's; it counts once its zone says so as well.

    Raises:
        HeadwaterError: ``conflict`` when it is claimed already or another organisation has verified it.
    """
    name = domain_of(f"@{name.strip()}")
    if Domain.unscoped.filter(name=name, verified_at__isnull=False).exclude(org=org).exists():
        raise HeadwaterError("conflict", f"another organisation has verified {name}")
    domain = Domain(org=org, name=name)
    domain.save()
    return domain


@action("sso.domain.verified", permission="organization.write", on="domain")
def verify_domain(*, actor: Actor, domain: Domain, resolve: Resolver = txt_records) -> Domain:
    """Look for the challenge in the domain's zone.

    Raises:
        HeadwaterError: ``conflict`` when it is not there, or another organisation was first;
            ``resolver_unavailable``.
    """
    if domain.verified_at is not None:
        return domain
    found = resolve(domain.record_name)
    if domain.record_value not in [text.strip() for text in found]:
        raise HeadwaterError(
            "conflict",
            f"{domain.record_name} has {len(found)} TXT records, and none of them is {domain.record_value!r}",
            hint="add the record, wait until name servers know it, and try again",
        )
    domain.change(verified_at=timezone.now(), checked_at=timezone.now(), missing_since=None)
    return domain


@action("sso.domain.rechecked", permission="organization.write", on="domain")
def recheck_domain(*, actor: Actor, domain: Domain, resolve: Resolver = txt_records) -> Domain:
    """Look whether a verified domain's record is still in its zone; nothing is noted while it is.

    A record that is gone is noted first. Once it has been gone for ``GRACE``, the domain counts no more until it is
    verified again: nobody joins by it, and an enforced identity provider no longer holds for its addresses.

    Raises:
        HeadwaterError: ``resolver_unavailable``, which changes nothing; ``conflict`` for a domain that is not verified.
    """
    if domain.verified_at is None:
        raise HeadwaterError("conflict", f"{domain} is not verified", hint="verify it")
    now = timezone.now()
    is_there = domain.record_value in [text.strip() for text in resolve(domain.record_name)]
    if is_there:
        domain.change(missing_since=None)
    elif domain.missing_since is None:
        domain.change(missing_since=now)
    elif now - domain.missing_since >= GRACE:
        _lapse(actor=actor, domain=domain)
    with bookkeeping():
        Domain.unscoped.filter(pk=domain.pk).update(checked_at=now)
    domain.checked_at = now
    return domain


@action("sso.domain.lapsed", permission="organization.write", on="domain")
def _lapse(*, actor: Actor, domain: Domain) -> None:
    domain.change(verified_at=None, missing_since=None, auto_join=False)


@action("sso.domain.joining_changed", permission="organization.write", on="domain")
def change_joining(*, actor: Actor, domain: Domain, auto_join: bool, role: Role | None = None) -> Domain:
    """Let whoever proves an address of the domain join with a role, or no longer."""
    if auto_join and domain.verified_at is None:
        raise HeadwaterError("conflict", f"{domain} is not verified yet", hint="verify it first")
    if role is not None:
        require_giving(actor, role, domain.org)
    domain.change(auto_join=auto_join, default_role=role or domain.default_role)
    return domain


@action("sso.domain.removed", permission="organization.write", on="domain")
def remove_domain(*, actor: Actor, domain: Domain, reason: str = "") -> None:
    """Give a domain up. An enforced identity provider no longer holds for its addresses."""
    domain.remove()


@action("sso.provider.created", permission="organization.write", on="org")
def create_provider(
    *,
    actor: Actor,
    org: Organization,
    name: str,
    issuer: str,
    client_id: str,
    client_secret: str,
    default_role: Role,
    domains: Sequence[str] = (),
) -> IdentityProvider:
    """Connect the organisation's identity provider; its issuer is asked who it is.

    Raises:
        HeadwaterError: ``provider_unusable``, ``conflict`` when there is one already, ``invalid_parameter``.
    """
    require_giving(actor, default_role, org)
    discover(issuer)
    provider = IdentityProvider(
        org=org,
        name=name,
        issuer=issuer,
        client_id=client_id,
        sealed_secret=seal(client_secret, SECRET_PURPOSE),
        default_role=default_role,
        domains=_own_domains(org, domains),
    )
    provider.save()
    return provider


@action("sso.provider.changed", permission="organization.write", on="provider")
def change_provider(
    *,
    actor: Actor,
    provider: IdentityProvider,
    name: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    default_role: Role | None = None,
    domains: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> IdentityProvider:
    """Change a provider. Its issuer stays: another one is another provider, whose people are not the same."""
    if default_role is not None:
        require_giving(actor, default_role, provider.org)
    if enabled is False and provider.enforced:
        raise HeadwaterError("conflict", f"{provider} is enforced", hint="cease to enforce it first")
    values = {
        "name": name,
        "client_id": client_id,
        "sealed_secret": seal(client_secret, SECRET_PURPOSE) if client_secret else None,
        "default_role": default_role,
        "domains": None if domains is None else _own_domains(provider.org, domains),
        "enabled": enabled,
    }
    provider.change(**{key: value for key, value in values.items() if value is not None})
    return provider


@action("sso.provider.enforcement_changed", permission="organization.write", on="provider")
def change_enforcement(
    *, actor: Actor, provider: IdentityProvider, enforced: bool, reason: str = ""
) -> IdentityProvider:
    """Let addresses of the verified domains in through the provider alone, or by password as well.

    Raises:
        HeadwaterError: ``conflict`` while that would lock everybody out.
    """
    if enforced and not provider.enabled:
        raise HeadwaterError("conflict", f"{provider} is switched off", hint="enable it first")
    if enforced and not Domain.objects.for_org(provider.org_id).filter(verified_at__isnull=False).exists():
        raise HeadwaterError("conflict", "no domain is verified, so there is nothing to enforce", hint="verify one")
    if enforced and provider.used_at is None and not RecoveryOwner.objects.for_org(provider.org_id).exists():
        raise HeadwaterError(
            "conflict",
            f"nobody has signed in through {provider} yet, and no owner is kept for recovery",
            hint="sign in through it once, or name a recovery owner, so that a mistake locks nobody out",
        )
    if provider.change(enforced=enforced) and enforced:
        note(provider, ended_sessions=end_sessions_outside(provider))
    return provider


@action("sso.provider.removed", permission="organization.write", on="provider")
def remove_provider(*, actor: Actor, provider: IdentityProvider, reason: str = "") -> None:
    """Forget a provider and which of its accounts are whose."""
    if provider.enforced:
        raise HeadwaterError("conflict", f"{provider} is enforced", hint="cease to enforce it first")
    linked = SocialAccount.objects.filter(provider=provider.public_id)
    note(provider, linked_accounts=linked.count())
    linked.delete()
    provider.remove()


@action("sso.recovery_owner.named", permission="organization.write", on="membership")
def name_recovery_owner(*, actor: Actor, membership: Membership, reason: str) -> RecoveryOwner:
    """Keep an owner who may sign in with a password when the identity provider is away; raises ``conflict``."""
    if not owners(membership.org_id).filter(pk=membership.pk).exists():
        raise HeadwaterError("conflict", f"{membership.user} does not own {membership.org}", hint="name an owner")
    kept = RecoveryOwner(org=membership.org, membership=membership)
    kept.save()
    return kept


@action("sso.recovery_owner.dismissed", permission="organization.write", on="recovery")
def dismiss_recovery_owner(*, actor: Actor, recovery: RecoveryOwner, reason: str = "") -> None:
    """Keep an owner for recovery no longer."""
    recovery.remove()


@action("sso.policy.changed", permission="organization.write", on="org")
def change_policy(*, actor: Actor, org: Organization, mfa_required: bool, reason: str = "") -> SignInPolicy:
    """Ask members for a second factor before they see anything, or no longer."""
    policy: SignInPolicy | None = SignInPolicy.objects.for_org(org).first()
    if policy is None:
        policy = SignInPolicy(org=org, mfa_required=mfa_required)
        policy.save()
    else:
        policy.change(mfa_required=mfa_required)
    return policy


def _own_domains(org: Organization, names: Sequence[str]) -> list[str]:
    wanted = sorted({domain_of(f"@{name}") for name in names})
    verified = set(
        Domain.objects.for_org(org).filter(name__in=wanted, verified_at__isnull=False).values_list("name", flat=True)
    )
    if set(wanted) - verified:
        raise HeadwaterError(
            "invalid_parameter",
            f"not a verified domain of {org}: {', '.join(sorted(set(wanted) - verified))}",
            hint="verify it first, or leave domains empty for all that are",
        )
    return wanted
