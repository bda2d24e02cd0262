"""What can be done to users."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from headwater.control.access.owners import keeping_an_owner
from headwater.control.identity.models import FailedLogins, User
from headwater.control.kit.actions import Actor, action, note
from headwater.control.kit.tenancy import listed_errors
from headwater.core.errors import HeadwaterError


@action("identity.user.created", permission=None)
def create_user(
    *, actor: Actor, email: str, password: str | None = None, name: str = "", is_admin: bool = False
) -> User:
    """Make a user; an administrator operates the whole platform. Without a password nobody can log in as them.

    Whoever asks for this vouches for the address: an operator, the link in an invitation, an identity provider.
    """
    user = User(email=email.strip().lower(), name=name, is_staff=is_admin, is_superuser=is_admin)
    user.set_password(_checked(password, user))
    try:
        user.full_clean()
    except ValidationError as error:
        taken = User.objects.filter(email=user.email).exists()
        raise HeadwaterError(
            "conflict" if taken else "invalid_parameter",
            f"{email!r}: {' '.join(error.messages)}",
            extra={"errors": listed_errors(error)},
        ) from error
    user.save()
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    return user


@action("identity.user.registered", permission=None)
def sign_up(*, actor: Actor, user: User) -> User:
    """Keep somebody who made an account by themselves; they come in once they have proved their address."""
    user.save()
    return user


@action("identity.user.email_verified", permission=None, anybody=True)
def record_verified(*, actor: Actor, user: User, email: str) -> None:
    """Note that somebody has proved their address."""
    note(user, email_verified=email)


@action("identity.account.locked", permission=None)
def record_lock_out(*, actor: Actor, user: User) -> None:
    """Note that an account takes no passwords for a while, because too many were wrong."""
    note(user, locked_out=True)


@action("identity.provider.bypassed", permission=None, anybody=True)
def record_recovery(*, actor: Actor, user: User, around: Any) -> None:
    """Note that an owner kept for recovery came in around the enforced identity provider."""
    note(around, recovered_by=user.email)


@action("identity.second_factor.added", permission=None, anybody=True)
def record_factor_added(*, actor: Actor, user: User, kind: str) -> None:
    """Note that somebody has another authenticator."""
    note(user, second_factor_added=kind)


@action("identity.second_factor.removed", permission=None, anybody=True)
def record_factor_removed(*, actor: Actor, user: User, kind: str) -> None:
    """Note that somebody has an authenticator less, or made new recovery codes in place of the old."""
    note(user, second_factor_removed=kind)


@action("identity.second_factor.cleared", permission=None)
def reset_second_factor(*, actor: Actor, user: User, reason: str) -> int:
    """Take all authenticators and sessions from somebody who lost their phone; return how many authenticators.

    Raises:
        HeadwaterError: ``conflict`` when they have none.
    """
    theirs = Authenticator.objects.filter(user=user)
    found: int = theirs.count()
    if not found:
        raise HeadwaterError("conflict", f"{user.email} has no second factor")
    theirs.delete()
    for session in UserSession.objects.filter(user=user):
        session.end()
    note(user, second_factors_removed=found)
    return found


@action("identity.session.ended", permission=None, anybody=True)
def end_sessions(*, actor: Actor, user: User, sessions: list[UserSession], reason: str = "") -> None:
    """Sign a user out elsewhere; which browsers is kept in the log."""
    for session in sessions:
        session.end()
    if sessions:
        note(user, ended=[f"{session.ip} {session.user_agent[:100]}" for session in sessions][:50])


@action("identity.account.linked", permission=None)
def record_linked(*, actor: Actor, user: User, provider: Any, subject: str) -> None:
    """Note that an identity provider's account opens a user's."""
    note(provider, linked=user.email, subject=subject)


@action("identity.account.unlinked", permission=None, anybody=True)
def record_unlinked(*, actor: Actor, user: User, provider: str) -> None:
    """Note that an identity provider's account opens a user's no more."""
    note(user, provider=provider, unlinked=True)


@action("identity.user.password_set", permission=None)
def set_password(*, actor: Actor, user: User, password: str) -> User:
    """Give a user another password, which ends their sessions."""
    user.set_password(_checked(password, user))
    user.save(update_fields=["password"])
    note(user, password="[redacted]")  # noqa: S106 - the point is that it is not there
    return user


@action("identity.user.password_changed", permission=None, anybody=True)
def change_own_password(*, actor: Actor, user: User, password: str) -> User:
    """Let people change their own password; the form has checked it and who they are."""
    user.set_password(password)
    user.save(update_fields=["password"])
    note(user, password="[redacted]")  # noqa: S106 - the point is that it is not there
    return user


@action("identity.user.logged_in", permission=None, anybody=True)
def record_login(*, actor: Actor, user: User) -> None:
    """Note that somebody logged in."""
    note(user, logged_in=True)


@action("identity.user.login_failed", permission=None)
def record_failed_logins(*, actor: Actor, about: User | FailedLogins, failures: int, addresses: list[str]) -> None:
    """Note that somebody failed to log in as a user, or as one who does not exist: how often, and from where."""
    note(about, failures=failures, addresses=addresses)


@action("identity.user.made_admin", permission=None)
def make_admin(*, actor: Actor, user: User) -> User:
    """Let a user operate the whole platform."""
    user.is_staff = user.is_superuser = user.is_active = True
    user.save(update_fields=["is_staff", "is_superuser", "is_active"])
    note(user, is_staff=True, is_superuser=True, is_active=True)
    return user


@action("identity.user.staff_changed", permission=None)
def change_staff(*, actor: Actor, user: User, is_staff: bool, reason: str = "") -> User:
    """Let a user open the admin, or no longer; what they see and do there follows from their grants.

    Raises:
        HeadwaterError: ``conflict`` for who operates the whole platform: they can open it anyhow.
    """
    if user.is_superuser:
        raise HeadwaterError("conflict", f"{user.email} operates the platform and can open the admin anyhow")
    if user.is_staff != is_staff:
        user.is_staff = is_staff
        user.save(update_fields=["is_staff"])
        note(user, is_staff=is_staff)
    return user


@action("identity.user.deactivated", permission=None)
def deactivate_user(*, actor: Actor, user: User, reason: str) -> User:
    """Let a user log in no more and none of their keys open anything; raises ``conflict`` for a last owner."""
    with keeping_an_owner(*(membership.org for membership in user.memberships.select_related("org"))):
        user.is_active = False
        user.save(update_fields=["is_active"])
    note(user, is_active=False)
    return user


def _checked(password: str | None, user: User) -> str | None:
    if password is None:
        return None
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise HeadwaterError("invalid_parameter", f"the password: {' '.join(error.messages)}") from error
    return password
