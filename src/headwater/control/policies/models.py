"""Policies on the rows and columns of one dataset or endpoint in an environment."""

from __future__ import annotations

import re
import uuid
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment
from headwater.core.policies import ATTRIBUTE_NAME, ATTRIBUTE_TYPES, BUILT_IN_ATTRIBUTES, MASKS, PolicySpec

NAME: Final = RegexValidator(
    r"\A[a-z][a-z0-9_]{0,62}\Z", "use lower-case letters, digits and underscores, a letter first, at most 63 in all"
)
RESOURCE: Final = RegexValidator(
    r"\A(dataset|endpoint):[a-z][a-z0-9_]{0,126}\Z", "write dataset:<name> or endpoint:<name>"
)
PRINCIPAL: Final = re.compile(
    r"everyone|role:[a-z][a-z0-9_-]{0,62}|group:[a-z][a-z0-9_-]{0,62}|user:usr_\w{26}|service_account:sa_\w{26}"
)
MAX_PRIORITY: Final = 1_000_000


def check_principals(value: Any) -> None:
    """Refuse what is not a list of principals as snapshots name them."""
    if not isinstance(value, list) or not value:
        raise ValidationError("name at least one principal, such as role:analyst, or everyone")
    for item in value:
        if not isinstance(item, str) or not PRINCIPAL.fullmatch(item):
            raise ValidationError(f"{str(item)[:80]!r} is no principal")


def check_masks(value: Any) -> None:
    """Refuse what is not a mask by column."""
    if not isinstance(value, dict):
        raise ValidationError("give masks by column")
    for column, mask in value.items():
        if mask not in MASKS:
            raise ValidationError(f"{column}: {str(mask)[:40]!r} is no mask; use {', '.join(MASKS)}")


def check_attribute_types(value: Any) -> None:
    """Refuse what is not an attribute's type by its name."""
    if not isinstance(value, dict):
        raise ValidationError("give types by name")
    for name, kind in value.items():
        if not ATTRIBUTE_NAME.fullmatch(name) or name in BUILT_IN_ATTRIBUTES:
            raise ValidationError(f"{name[:64]!r} cannot name an attribute")
        if kind not in ATTRIBUTE_TYPES:
            raise ValidationError(f"{name}: {str(kind)[:40]!r} is no type; use {', '.join(ATTRIBUTE_TYPES)}")


class AccessPolicy(TenantEntity):
    """What its principals see of a resource. The lowest priority that matches decides, alone."""

    prefix: ClassVar[str] = "pol"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="policies")
    name = models.CharField(max_length=63, validators=[NAME])
    resource = models.CharField(max_length=140, validators=[RESOURCE], help_text="dataset:<name> or endpoint:<name>")
    priority = models.PositiveIntegerField(
        validators=[MaxValueValidator(MAX_PRIORITY)], help_text="The lowest that matches decides."
    )
    principals = models.JSONField(validators=[check_principals])
    row_filter = models.CharField(max_length=4_000, blank=True, help_text="Empty: every row.")
    attributes = models.JSONField(default=dict, blank=True, validators=[check_attribute_types])
    columns = models.JSONField(default=dict, blank=True, validators=[check_masks])
    purpose = models.CharField(max_length=500, help_text="Why these see this; it is read when somebody asks.")
    expires_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        """Names are unique in an environment, priorities on a resource, while policies are in force."""

        ordering = ("resource", "priority")
        verbose_name = "policy"
        verbose_name_plural = "policies"
        constraints = (
            models.UniqueConstraint(
                fields=["environment", "name"],
                condition=Q(archived_at__isnull=True),
                name="policy_name_in_environment",
                violation_error_code="unique",
                violation_error_message="there is a policy of that name",
            ),
            models.UniqueConstraint(
                fields=["environment", "resource", "priority"],
                condition=Q(archived_at__isnull=True),
                name="policy_priority_on_resource",
                violation_error_code="unique",
                violation_error_message="another policy on this resource has that priority; choose another",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the environment belongs to."""
        return self.environment.project_id

    @property
    def resource_kind(self) -> str:
        """Return ``dataset`` or ``endpoint``."""
        return self.resource.partition(":")[0]

    @property
    def resource_name(self) -> str:
        """Return the name of the dataset or endpoint."""
        return self.resource.partition(":")[2]

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this policy alone names."""
        return f"policy:{self.name}"

    def to_spec(self) -> PolicySpec:
        """Return the policy as it travels in snapshots."""
        return PolicySpec(
            id=self.public_id,
            name=self.name,
            resource=self.resource,
            priority=self.priority,
            principals=tuple(self.principals),
            row_filter=self.row_filter,
            attributes=self.attributes,
            columns=self.columns,
            purpose=self.purpose,
            expires_at=self.expires_at,
        )
