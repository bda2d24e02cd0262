"""Flags, what each environment says about them, and how often they were evaluated there."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar, Final

from django.core.validators import MaxLengthValidator, RegexValidator
from django.db import models
from django.utils import timezone

from headwater.control.kit.tenancy import TenantEntity, TenantManager, UnscopedManager
from headwater.control.orgs.models import Environment, Organization, Project
from headwater.core.flags import KEY_PATTERN, FlagSpec
from headwater.core.flags.spec import MAX_KEY_LENGTH

FLAG_KEY: Final = RegexValidator(
    KEY_PATTERN.replace("$", r"\Z").replace("^", r"\A"),
    "use lower-case letters, digits and single - _ . between them, a letter first",
)


def new_salt() -> str:
    """Return what decides who is in a share: random, so that no two flags favour the same people."""
    return secrets.token_hex(8)


class Flag(TenantEntity):
    """A decision that an application asks for by key. Its variants are the same in every environment."""

    prefix: ClassVar[str] = "flg"

    class Type(models.TextChoices):
        """What the values are."""

        BOOLEAN = "boolean"
        STRING = "string"
        INTEGER = "integer"
        NUMBER = "number"
        OBJECT = "object"

    class Kind(models.TextChoices):
        """How long it is meant to live."""

        RELEASE = "release"
        OPS = "ops"
        PERMANENT = "permanent"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="flags")
    key = models.CharField(max_length=MAX_KEY_LENGTH, validators=[FLAG_KEY])
    description = models.TextField(blank=True, validators=[MaxLengthValidator(10_000)])
    type = models.CharField(max_length=10, choices=Type)
    variants = models.JSONField(help_text="Values by the variants' names.")
    off_variant = models.CharField(max_length=63, help_text="Answered while the flag is off.")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.RELEASE)
    owner = models.CharField(max_length=200, help_text="Who decides about it: a team or an e-mail address.")
    remove_by = models.DateField(null=True, blank=True, help_text="When the code should do without it.")
    exposures = models.BooleanField(default=False, help_text="Whether who saw which variant is written down.")
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """A key is unique within its project; only permanent flags may stay for ever."""

        ordering = ("key",)
        constraints = (
            models.UniqueConstraint(fields=["project", "key"], name="flag_key_in_project"),
            models.CheckConstraint(
                condition=models.Q(kind="permanent") | models.Q(remove_by__isnull=False),
                name="flag_has_remove_by",
                violation_error_message="only a permanent flag may stay for ever; say by when it is removed",
            ),
        )

    def __str__(self) -> str:
        return self.key

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this flag alone names."""
        return f"flag:{self.key}"


class FlagConfig(TenantEntity):
    """What one environment says about a flag. ``rules`` and ``prerequisites`` are as in ``core.flags``."""

    prefix: ClassVar[str] = "flc"

    flag = models.ForeignKey(Flag, on_delete=models.PROTECT, related_name="configs")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="flag_configs")
    enabled = models.BooleanField(default=False)
    default_variant = models.CharField(max_length=63, help_text="Answered where no rule reaches.")
    rules = models.JSONField(default=list, blank=True)
    prerequisites = models.JSONField(default=list, blank=True)
    enabled_from = models.DateTimeField(null=True, blank=True)
    enabled_until = models.DateTimeField(null=True, blank=True)
    salt = models.CharField(max_length=64, default=new_salt)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        """One a flag and environment."""

        verbose_name = "flag configuration"
        constraints = (models.UniqueConstraint(fields=["flag", "environment"], name="flag_config_in_environment"),)

    def __str__(self) -> str:
        return f"{self.flag.key} in {self.environment.key}"

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this flag alone names."""
        return self.flag.grant_resource

    def to_spec(self, **instead: Any) -> FlagSpec:
        """Return what the data plane is told, with the members of ``instead`` in place of what is saved.

        Raises:
            pydantic.ValidationError: rules or prerequisites are not of the form that ``core.flags`` gives them.
        """
        return FlagSpec.model_validate(self.to_plain() | instead)

    def to_plain(self) -> dict[str, Any]:
        """Return the members of ``FlagSpec``."""
        flag = self.flag
        return {
            "id": flag.public_id,
            "key": flag.key,
            "type": flag.type,
            "variants": flag.variants,
            "off_variant": flag.off_variant,
            "description": flag.description,
            "exposures": flag.exposures,
            "default_variant": self.default_variant,
            "enabled": self.enabled,
            "rules": self.rules,
            "prerequisites": self.prerequisites,
            "enabled_from": self.enabled_from,
            "enabled_until": self.enabled_until,
            "salt": self.salt,
            "revision": flag.revision + self.revision - 1,
        }


class FlagUsage(models.Model):
    """How often a flag was evaluated on a day, by variant; ``key`` is ``*`` for requests for all flags at once."""

    org = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="flag_usage")
    key = models.CharField(max_length=MAX_KEY_LENGTH)
    variant = models.CharField(max_length=63, blank=True)
    day = models.DateField()
    count = models.PositiveBigIntegerField(default=0)
    heard_at = models.DateTimeField(default=timezone.now)

    unscoped: ClassVar[UnscopedManager[Any]] = UnscopedManager()
    objects: ClassVar[TenantManager[Any]] = TenantManager()

    class Meta:
        """One row a flag, variant and day."""

        verbose_name_plural = "flag usage"
        constraints = (
            models.UniqueConstraint(fields=["environment", "key", "variant", "day"], name="flag_usage_of_a_day"),
        )

    def __str__(self) -> str:
        return f"{self.key} {self.variant} on {self.day}: {self.count}"


class FlagReporter(models.Model):
    """A process that reports usage, and the number of its last batch: one that comes again counts for nothing."""

    node = models.CharField(max_length=100, unique=True)
    batch = models.PositiveBigIntegerField()
    heard_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.node} batch {self.batch}"


EVERY_FLAG: Final = "*"
