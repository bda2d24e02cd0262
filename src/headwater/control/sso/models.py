"""What an organisation says about signing in: domains it has proved, its identity provider, rules for its members."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import ClassVar, Final

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from headwater.control.access.models import Role
from headwater.control.kit.fields import SecretField
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Membership

CHALLENGE_PREFIX: Final = "_headwater-challenge"
VALUE_PREFIX: Final = "headwater-domain-verification="
#: A claim that nobody proves within this time may be made by somebody else.
CLAIM_LIFETIME: Final = timedelta(days=14)
#: A verified domain whose record is gone for longer than this has no owner any more.
GRACE: Final = timedelta(days=7)
HOST: Final = r"^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$"


def new_challenge() -> str:
    """Return what the owner of a domain writes into its zone."""
    return secrets.token_hex(20)


class Domain(TenantEntity):
    """The part of addresses behind the @ that an organisation claims, and owns once its zone says so."""

    prefix: ClassVar[str] = "dom"

    name = models.CharField(
        max_length=253, validators=[RegexValidator(HOST, "a host name in lower case, such as example.org")]
    )
    challenge = models.CharField(max_length=64, default=new_challenge, editable=False)
    verified_at = models.DateTimeField(null=True, blank=True, editable=False)
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    missing_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the record of a verified domain was first not found."
    )
    auto_join = models.BooleanField(default=False, help_text="Whoever proves an address here may join by themselves.")
    default_role = models.ForeignKey(Role, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        """One owner once verified; an organisation claims a name once."""

        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=["org", "name"], name="domain_once_per_org"),
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(verified_at__isnull=False),
                name="domain_has_one_owner",
                violation_error_code="unique",
                violation_error_message="another organisation has verified this domain",
            ),
            models.CheckConstraint(
                name="domain_joiners_get_a_role", condition=Q(auto_join=False) | Q(default_role__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def lapses_at(self) -> datetime | None:
        """Return when the domain ceases to count unless its record is found again; None: it does not."""
        return self.missing_since + GRACE if self.verified_at and self.missing_since else None

    @property
    def record_name(self) -> str:
        """Return the name of the TXT record that proves the domain."""
        return f"{CHALLENGE_PREFIX}.{self.name}"

    @property
    def record_value(self) -> str:
        """Return what that record says."""
        return f"{VALUE_PREFIX}{self.challenge}"


class IdentityProvider(TenantEntity):
    """The OpenID Connect issuer that an organisation's people sign in with."""

    prefix: ClassVar[str] = "idp"

    name = models.CharField(max_length=100, help_text="Shown on the sign-in page.")
    issuer = models.CharField(max_length=500)
    client_id = models.CharField(max_length=255)
    sealed_secret = SecretField(max_length=1000, editable=False)
    enabled = models.BooleanField(default=True)
    enforced = models.BooleanField(default=False, help_text="Addresses of the verified domains come in no other way.")
    default_role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="+")
    domains = models.JSONField(
        default=list, blank=True, help_text="Verified domains whose people it signs in; empty: all of them."
    )
    used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        """One for each organisation, so that an address has one way in."""

        verbose_name = "identity provider"
        constraints = (
            models.UniqueConstraint(fields=["org"], name="identity_provider_per_org"),
            models.CheckConstraint(name="enforced_provider_is_enabled", condition=Q(enforced=False) | Q(enabled=True)),
        )

    def __str__(self) -> str:
        return self.name


class RecoveryOwner(TenantEntity):
    """An owner who may still sign in with a password when the identity provider is away."""

    prefix: ClassVar[str] = "rec"

    membership = models.OneToOneField(Membership, on_delete=models.PROTECT, related_name="recovery")

    class Meta:
        """Named for what people look for."""

        verbose_name = "recovery owner"

    def __str__(self) -> str:
        return f"{self.membership.user} for {self.org}"


class SignInPolicy(TenantEntity):
    """What an organisation asks of its members before they see anything."""

    prefix: ClassVar[str] = "sip"

    mfa_required = models.BooleanField(default=False)

    class Meta:
        """One for each organisation; none: nothing is asked."""

        verbose_name = "sign-in policy"
        verbose_name_plural = "sign-in policies"
        constraints = (models.UniqueConstraint(fields=["org"], name="sign_in_policy_per_org"),)

    def __str__(self) -> str:
        return f"sign-in to {self.org}"
