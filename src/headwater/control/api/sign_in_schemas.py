"""What the control API takes and gives about invitations, domains, identity providers and sessions."""

from __future__ import annotations

from datetime import datetime

from ninja import Field, Schema

from headwater.control.api.schemas import SEEN, ChangeIn
from headwater.control.identity.browsers import describe
from headwater.control.identity.models import Invitation
from headwater.control.sso.models import Domain, IdentityProvider, RecoveryOwner, SignInPolicy


class InvitationOut(Schema):
    """An invitation; its link is in the mail alone."""

    id: str
    email: str
    role: str
    status: str
    invited_by: str
    sent_at: datetime | None
    expires_at: datetime
    revision: int

    @classmethod
    def show(cls, row: Invitation) -> InvitationOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, email=row.email, role=row.role.name, status=row.status, invited_by=row.invited_by,
            sent_at=row.sent_at, expires_at=row.expires_at, revision=row.revision,
        )  # fmt: skip


class InvitationIn(Schema):
    """Somebody to be invited."""

    email: str = Field(max_length=254)
    role: str = Field(examples=["developer"])


class DomainOut(Schema):
    """A domain, and the TXT record that proves it."""

    id: str
    name: str
    verified_at: datetime | None
    checked_at: datetime | None
    missing_since: datetime | None = Field(
        description="Its record is not there; a week later the domain counts no more"
    )
    record_name: str
    record_value: str
    auto_join: bool
    default_role: str | None
    revision: int

    @classmethod
    def show(cls, row: Domain) -> DomainOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, name=row.name, verified_at=row.verified_at, checked_at=row.checked_at,
            missing_since=row.missing_since, record_name=row.record_name, record_value=row.record_value,
            auto_join=row.auto_join,
            default_role=row.default_role.name if row.default_role else None, revision=row.revision,
        )  # fmt: skip


class DomainIn(Schema):
    """A domain to be claimed."""

    name: str = Field(max_length=253, examples=["example.org"])


class DomainPatch(Schema):
    """Who of a verified domain may join by themselves."""

    auto_join: bool
    default_role: str | None = None
    revision: int | None = Field(None, description=SEEN)


class ProviderOut(Schema):
    """An identity provider; its secret is never shown."""

    id: str
    name: str
    issuer: str
    client_id: str
    redirect_uri: str
    enabled: bool
    enforced: bool
    default_role: str
    domains: list[str]
    used_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: IdentityProvider, redirect_uri: str) -> ProviderOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, name=row.name, issuer=row.issuer, client_id=row.client_id, redirect_uri=redirect_uri,
            enabled=row.enabled, enforced=row.enforced, default_role=row.default_role.name, domains=row.domains,
            used_at=row.used_at, revision=row.revision,
        )  # fmt: skip


class ProviderIn(Schema):
    """An OpenID Connect issuer to be connected."""

    name: str = Field(min_length=1, max_length=100)
    issuer: str = Field(max_length=500, examples=["https://login.example.org"])
    client_id: str = Field(min_length=1, max_length=255)
    client_secret: str = Field(min_length=1, max_length=500)
    default_role: str = "analyst"
    domains: list[str] = Field(default_factory=list, max_length=100)


class ProviderPatch(Schema):
    """What to change about a provider; its issuer stays."""

    name: str | None = Field(None, min_length=1, max_length=100)
    client_id: str | None = Field(None, min_length=1, max_length=255)
    client_secret: str | None = Field(None, min_length=1, max_length=500)
    default_role: str | None = None
    domains: list[str] | None = Field(None, max_length=100)
    enabled: bool | None = None
    enforced: bool | None = Field(None, description="Whether addresses of the verified domains come in no other way")
    reason: str = Field("", max_length=500)
    revision: int | None = Field(None, description=SEEN)


class RecoveryOwnerOut(Schema):
    """An owner who may sign in with a password when the provider is away."""

    id: str
    email: str
    revision: int

    @classmethod
    def show(cls, row: RecoveryOwner) -> RecoveryOwnerOut:
        """Return what the API says about ``row``."""
        return cls(id=row.public_id, email=row.membership.user.email, revision=row.revision)


class RecoveryOwnerIn(Schema):
    """A member to be kept for recovery, and why."""

    member: str = Field(examples=["mem_01J0ABCDEFGHJKMNPQRSTVWXYZ"])
    reason: str = Field(min_length=1, max_length=500)


class SignInPolicyOut(Schema):
    """What an organisation asks of its members."""

    mfa_required: bool
    revision: int = Field(description="0: never changed")

    @classmethod
    def show(cls, row: SignInPolicy | None) -> SignInPolicyOut:
        """Return what the API says about ``row``."""
        return cls(mfa_required=row is not None and row.mfa_required, revision=row.revision if row else 0)


class SignInPolicyIn(ChangeIn):
    """What to ask of members."""

    mfa_required: bool


class SessionOut(Schema):
    """A browser in which you are signed in."""

    id: int
    browser: str
    ip: str
    signed_in_at: datetime
    last_seen_at: datetime
    is_current: bool

    @classmethod
    def show(cls, row: object, current: str) -> SessionOut:
        """Return what the API says about ``row``, a session; ``current`` is the key of the one that asks."""
        known = row.__dict__
        return cls(
            id=known["id"], browser=describe(known["user_agent"]), ip=known["ip"], signed_in_at=known["created_at"],
            last_seen_at=known["last_seen_at"], is_current=known["session_key"] == current,
        )  # fmt: skip
