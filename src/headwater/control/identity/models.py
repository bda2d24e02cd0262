"""Users, who have an e-mail address and a password but no user name, and invitations to become one."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, ClassVar, Final

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from headwater.control.access.models import Role
from headwater.control.kit.context import current_action
from headwater.control.kit.fields import SecretField
from headwater.control.kit.tenancy import TenantEntity
from headwater.core.ids import format_id, new_uuid

INVITATION_LIFETIME: Final = timedelta(days=7)


class UserManager(BaseUserManager["User"]):
    """Makes users and finds them by e-mail, whatever its case."""

    def get_by_natural_key(self, email: str | None) -> User:
        """Return the user with this e-mail."""
        return self.get(email=(email or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Rights inside organisations come from memberships and grants; a superuser operates the platform."""

    prefix: ClassVar[str] = "usr"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    email = models.EmailField(unique=True, max_length=254)
    name = models.CharField(max_length=200, blank=True)
    is_staff = models.BooleanField(default=False, help_text="May open the admin.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        """Addresses differ by more than case."""

        ordering = ("email",)
        constraints = (
            models.UniqueConstraint(Lower("email"), name="user_email_whatever_case", violation_error_code="unique"),
        )

    def __str__(self) -> str:
        return self.email

    @property
    def public_id(self) -> str:
        """Return the id as everybody outside sees it."""
        return format_id(self.prefix, self.pk)

    @property
    def tenant_id(self) -> uuid.UUID | None:
        """Return None: users belong to the platform, their memberships to organisations."""
        return None

    def clean(self) -> None:
        """Lower the address before it is compared with others."""
        super().clean()
        self.email = self.email.strip().lower()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the user, with the address in lower case; a new user is noted in the action that makes it."""
        self.email = self.email.strip().lower()
        new = self._state.adding
        super().save(*args, **kwargs)
        context = current_action()
        if new and context is not None:
            context.note_created(self, {"email": self.email, "name": self.name, "is_staff": self.is_staff})


class FailedLogins(models.Model):
    """Failed sign-ins of one account, or of all that do not exist, which no audit row tells of yet."""

    UNKNOWN: ClassVar[str] = "unknown"
    audit_kind: ClassVar[str] = "identity.failed_logins"

    account = models.CharField(primary_key=True, max_length=40, help_text="A user's id, or 'unknown'.")
    count = models.PositiveIntegerField(default=0)
    addresses = models.JSONField(default=list)
    reported_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return "accounts that do not exist" if self.account == self.UNKNOWN else self.account

    @property
    def public_id(self) -> str:
        """Return the id of the account."""
        return self.account

    @property
    def tenant_id(self) -> None:
        """Return None: users belong to the platform."""
        return


class Invitation(TenantEntity):
    """An offer to somebody's address of a place in an organisation; the link in the mail takes it up once."""

    prefix: ClassVar[str] = "inv"

    class Status(models.TextChoices):
        """What became of it. A pending one may have expired."""

        PENDING = "pending"
        ACCEPTED = "accepted"
        REVOKED = "revoked"

    email = models.EmailField(max_length=254)
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING, editable=False)
    token_sha256 = SecretField(max_length=64, unique=True, editable=False)
    expires_at = models.DateTimeField()
    invited_by = models.CharField(max_length=254)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )

    class Meta:
        """An address is invited once at a time."""

        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=["org", "email"],
                condition=models.Q(status="pending"),
                name="invitation_pending_once",
                violation_error_code="unique",
                violation_error_message="this address is invited already; send that invitation again instead",
            ),
        )

    def __str__(self) -> str:
        return f"{self.email} to {self.org}"

    @property
    def is_open(self) -> bool:
        """Return whether it can be taken up now."""
        return self.status == self.Status.PENDING and timezone.now() < self.expires_at


class CacheEntry(models.Model):
    """What Django's database cache keeps: above all how often somebody tried to sign in."""

    cache_key = models.CharField(primary_key=True, max_length=255)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.cache_key
