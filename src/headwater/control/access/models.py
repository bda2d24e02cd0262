"""Roles, grants, service accounts and API keys."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, ClassVar, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce

from headwater.control.kit.fields import SecretField
from headwater.control.kit.tenancy import Entity, GuardedQuerySet, TenantEntity, UnscopedManager
from headwater.control.orgs.models import Environment, Membership, Organization, Project, slug_validator
from headwater.core.addresses import read_network
from headwater.core.errors import HeadwaterError
from headwater.core.key_limits import KeyLimitsSpec
from headwater.core.permissions import PERMISSIONS
from headwater.core.policies import ATTRIBUTE_NAME, ATTRIBUTE_TYPES, BUILT_IN_ATTRIBUTES, MAX_LIST, attribute_value

MAX_NETWORKS: Final = 50
MAX_ATTRIBUTES: Final = 30

NOBODY: Final = models.Value(uuid.UUID(int=0), output_field=models.UUIDField())
"""Stands for an absent reference where SQL would hold two absent ones to differ."""


def check_permissions(value: Any) -> None:
    """Refuse what is not a list of known permissions."""
    unknown = [item for item in value if item not in PERMISSIONS] if isinstance(value, list) else [value]
    if unknown:
        raise ValidationError(f"not permissions: {', '.join(map(str, unknown))}")


def check_allowances(value: Any) -> None:
    """Refuse what is not a list of permissions, each with an optional resource: ``dataset.ingest:flights``."""
    check_permissions([str(item).partition(":")[0] for item in value] if isinstance(value, list) else value)


def check_networks(value: Any) -> None:
    """Refuse what is not a list of networks."""
    if not isinstance(value, list) or len(value) > MAX_NETWORKS:
        raise ValidationError(f"give a list of at most {MAX_NETWORKS} networks")
    for item in value:
        try:
            read_network(str(item))
        except HeadwaterError as error:
            raise ValidationError(f"{error.detail}; {error.hint}") from error


def check_key_limits(value: Any) -> None:
    """Refuse limits of a key that there are not, or that bound nothing."""
    if not isinstance(value, dict) or (unknown := sorted(set(value) - set(KeyLimitsSpec.model_fields))):
        what = f"there is no limit {unknown[0]!r}" if isinstance(value, dict) else "limits are an object"
        raise ValidationError(f"{what}; one may name {', '.join(KeyLimitsSpec.model_fields)}")
    try:
        KeyLimitsSpec.model_validate(value)
    except ValueError as error:
        raise ValidationError("limits are numbers above 0, whole ones but for requests_per_second") from error


def check_attributes(value: Any) -> None:
    """Refuse what row filters cannot use: other than plain values and lists of texts or whole numbers, by name."""
    if not isinstance(value, dict) or len(value) > MAX_ATTRIBUTES:
        raise ValidationError(f"give at most {MAX_ATTRIBUTES} values by name")
    for name, item in value.items():
        if not ATTRIBUTE_NAME.fullmatch(name) or name in BUILT_IN_ATTRIBUTES:
            raise ValidationError(f"{name[:64]!r} cannot name an attribute; use lower-case letters, digits and _")
        if all(attribute_value(item, kind) is None for kind in ATTRIBUTE_TYPES):
            raise ValidationError(
                f"{name}: give a text, a number, true or false, or a list of up to {MAX_LIST} texts or whole numbers"
            )


class StandingRoles(models.Manager["Role"]):
    """The roles that can be given: built in and organisations' own, but for those that were removed."""

    def get_queryset(self) -> GuardedQuerySet[Role]:
        """Return them for every organisation."""
        return GuardedQuerySet(self.model, using=self._db).filter(archived_at=None)

    def of(self, org: Organization | uuid.UUID | None) -> GuardedQuerySet[Role]:
        """Return the built-in roles and those of ``org``."""
        return self.get_queryset().filter(Q(org=None) | Q(org=org))


class Role(Entity):
    """A named set of permissions. Built-in roles belong to nobody and never change.

    A role that was removed stays, archived: grants that ended name it.
    """

    prefix: ClassVar[str] = "role"

    org = models.ForeignKey(Organization, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=63, validators=[slug_validator])
    permissions = models.JSONField(default=list, blank=True, validators=[check_permissions])
    is_sealed = models.BooleanField(default=False, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)

    unscoped: ClassVar[UnscopedManager[Any]] = UnscopedManager()
    standing: ClassVar[StandingRoles] = StandingRoles()

    class Meta:
        """Names are unique among the built-in roles and, while they stand, within an organisation."""

        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(
                fields=["org", "name"],
                condition=Q(archived_at__isnull=True),
                name="role_name_per_org",
                violation_error_code="unique",
                violation_error_message="there is a role of that name",
            ),
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(org__isnull=True),
                name="role_name_built_in",
                violation_error_code="unique",
                violation_error_message="there is a built-in role of that name",
            ),
        )

    def __str__(self) -> str:
        return self.name


class ServiceAccount(TenantEntity):
    """A program's identity in one project."""

    prefix: ClassVar[str] = "sa"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="service_accounts")
    name = models.CharField(max_length=63, validators=[slug_validator])
    description = models.CharField(max_length=500, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """A name is unique within its project."""

        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["project", "name"], name="service_account_name"),)

    def __str__(self) -> str:
        return self.name


class Group(TenantEntity):
    """People and programs of an organisation who are given roles, and named by policies, together."""

    prefix: ClassVar[str] = "gro"

    name = models.CharField(max_length=63, validators=[slug_validator])
    description = models.CharField(max_length=500, blank=True)

    class Meta:
        """A name is unique within its organisation, and stays: policies know groups by it."""

        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["org", "name"], name="group_name_in_org"),)

    def __str__(self) -> str:
        return self.name


class GroupMember(TenantEntity):
    """One member or service account in a group. Whoever manages the row alone removes it."""

    class Manager(models.TextChoices):
        """Who put it there: a person, a directory, or a claim at sign-in."""

        MANUAL = "manual"
        SCIM = "scim"
        CLAIM = "claim"

    prefix: ClassVar[str] = "gm"

    group = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="members")
    membership = models.ForeignKey(
        Membership, on_delete=models.PROTECT, null=True, blank=True, related_name="group_memberships"
    )
    service_account = models.ForeignKey(
        ServiceAccount, on_delete=models.PROTECT, null=True, blank=True, related_name="group_memberships"
    )
    managed_by = models.CharField(max_length=6, choices=Manager.choices, default=Manager.MANUAL)

    class Meta:
        """One principal, once in a group."""

        ordering = ("group", "created_at")
        constraints = (
            models.CheckConstraint(
                name="group_member_has_one_principal",
                condition=Q(membership__isnull=False, service_account__isnull=True)
                | Q(membership__isnull=True, service_account__isnull=False),
            ),
            models.UniqueConstraint(
                "group",
                Coalesce("membership", NOBODY),
                Coalesce("service_account", NOBODY),
                name="group_member_once",
                violation_error_code="unique",
                violation_error_message="it is in this group already",
            ),
        )

    def __str__(self) -> str:
        return f"{self.membership or self.service_account} in {self.group}"


class Grant(TenantEntity):
    """A role given to one member, group or service account, on the organisation or a part of it."""

    prefix: ClassVar[str] = "grt"

    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="grants")
    membership = models.ForeignKey(Membership, on_delete=models.PROTECT, null=True, blank=True, related_name="grants")
    service_account = models.ForeignKey(
        ServiceAccount, on_delete=models.PROTECT, null=True, blank=True, related_name="grants"
    )
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    resource = models.CharField(
        max_length=200, blank=True, help_text="Kind and name, such as dataset:flights; empty: everything in the scope."
    )
    group = models.ForeignKey(Group, on_delete=models.PROTECT, null=True, blank=True, related_name="grants")
    granted_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        """One principal, one scope, once at a time."""

        constraints = (
            models.CheckConstraint(
                name="grant_has_one_principal",
                condition=Q(membership__isnull=False, service_account__isnull=True, group__isnull=True)
                | Q(membership__isnull=True, service_account__isnull=False, group__isnull=True)
                | Q(membership__isnull=True, service_account__isnull=True, group__isnull=False),
            ),
            models.CheckConstraint(
                name="grant_has_one_scope", condition=Q(project__isnull=True) | Q(environment__isnull=True)
            ),
            models.CheckConstraint(
                name="grant_resource_lies_somewhere",
                condition=Q(resource="") | Q(project__isnull=False) | Q(environment__isnull=False),
            ),
            models.UniqueConstraint(
                "role",
                Coalesce("membership", NOBODY),
                Coalesce("service_account", NOBODY),
                Coalesce("group", NOBODY),
                Coalesce("project", NOBODY),
                Coalesce("environment", NOBODY),
                "resource",
                condition=Q(revoked_at__isnull=True),
                name="grant_once",
                violation_error_code="unique",
                violation_error_message="this role is given there already",
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} for {self.principal} on {self.scope}"

    @property
    def principal(self) -> str:
        """Return who holds it, in words."""
        return f"group {self.group}" if self.group else str(self.membership or self.service_account)

    @property
    def scope(self) -> str:
        """Return what the grant is about, in words."""
        where = str(self.environment or self.project or self.org)
        return f"{where} {self.resource}".rstrip()

    def is_live(self, at: datetime) -> bool:
        """Return whether the grant counts at ``at``."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class ApiKey(TenantEntity):
    """A secret that speaks for a service account or a user in one environment. Only its digest is kept."""

    prefix: ClassVar[str] = "key"

    name = models.CharField(max_length=100)
    key_prefix = models.CharField(max_length=8, unique=True, editable=False)
    secret_sha256 = SecretField(max_length=64, unique=True, editable=False)
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="api_keys")
    service_account = models.ForeignKey(
        ServiceAccount, on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys"
    )
    scopes = models.JSONField(
        default=list,
        blank=True,
        validators=[check_allowances],
        help_text="Permissions the key is limited to, such as dataset.ingest:flights; empty: all its principal has.",
    )
    cidrs = models.JSONField(
        default=list,
        blank=True,
        validators=[check_networks],
        help_text="Networks that the key may be used from, such as 10.1.0.0/16; empty: anywhere.",
    )
    attributes = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_attributes],
        help_text="What row filters of policies know of the key as caller.<name>.",
    )
    limits = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_key_limits],
        help_text="Bounds on the key's queries, such as requests_per_second and scanned_bytes_per_day; empty: none.",
    )
    rotated_from = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="successors")
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        """One principal; at most one live successor."""

        verbose_name = "API key"
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(
                name="key_has_one_principal",
                condition=Q(user__isnull=False, service_account__isnull=True)
                | Q(user__isnull=True, service_account__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["rotated_from"],
                condition=Q(revoked_at__isnull=True),
                name="key_has_one_successor",
                violation_error_code="unique",
                violation_error_message="the key was rotated already; rotate the one that follows it",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} (hw_{self.key_prefix}_…)"

    @property
    def last_used_at(self) -> datetime | None:
        """Return when it was last used, as far as that was told."""
        use = getattr(self, "use", None)
        return use.last_used_at if use is not None else None

    def is_live(self, at: datetime) -> bool:
        """Return whether the key opens anything at ``at``."""
        return self.revoked_at is None and at < self.expires_at


class KeyUse(models.Model):
    """When a key was last used, as services and control tell now and then; no part of the key's own history."""

    key = models.OneToOneField(ApiKey, on_delete=models.CASCADE, primary_key=True, related_name="use")
    last_used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.key_id} at {self.last_used_at:%Y-%m-%d %H:%M}"
