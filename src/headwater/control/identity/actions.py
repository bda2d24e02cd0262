"""What can be done to users."""

from __future__ import annotations

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
    """Make a user; an administrator operates the whole platform. Without a password nobody can log in as them."""
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
    return user


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
