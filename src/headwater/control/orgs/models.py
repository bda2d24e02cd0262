"""Organisations, projects, environments and memberships."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models

from headwater.control.kit.tenancy import Entity, TenantEntity
from headwater.core.setting_sections import SLUG

slug_validator = RegexValidator(SLUG, "lower-case letters, digits, hyphens and underscores, a letter first")


class Organization(Entity):
    """A tenant."""

    prefix: ClassVar[str] = "org"

    class Status(models.TextChoices):
        """Whether the organisation is served."""

        ACTIVE = "active"
        SUSPENDED = "suspended"
        CLOSING = "closing"

    slug = models.CharField(max_length=63, unique=True, validators=[slug_validator])
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)

    class Meta:
        """Shown by name."""

        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    @property
    def tenant_id(self) -> uuid.UUID:
        """Return the organisation's own id: its log speaks of itself."""
        return self.id


class Project(TenantEntity):
    """What a team declares together: datasets, endpoints, models."""

    prefix: ClassVar[str] = "prj"

    slug = models.CharField(max_length=63, validators=[slug_validator])
    name = models.CharField(max_length=200)

    class Meta:
        """A slug is unique within its organisation."""

        ordering = ("slug",)
        constraints = (models.UniqueConstraint(fields=["org", "slug"], name="project_slug_per_org"),)

    def __str__(self) -> str:
        return self.slug


class Environment(TenantEntity):
    """One place where a project's resources are served, with data and keys of its own."""

    prefix: ClassVar[str] = "env"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="environments")
    key = models.CharField(max_length=63, validators=[slug_validator])
    protected = models.BooleanField(default=False)

    class Meta:
        """A key is unique within its project."""

        ordering = ("key",)
        constraints = (models.UniqueConstraint(fields=["project", "key"], name="environment_key_per_project"),)

    def __str__(self) -> str:
        return f"{self.project.slug}/{self.key}"


class Membership(TenantEntity):
    """A user's place in an organisation. What the member may do is said by grants."""

    prefix: ClassVar[str] = "mem"

    class Status(models.TextChoices):
        """Only active members may act."""

        INVITED = "invited"
        ACTIVE = "active"
        SUSPENDED = "suspended"

    class Source(models.TextChoices):
        """How the membership came to be."""

        MANUAL = "manual"
        INVITE = "invite"
        DOMAIN = "domain"
        JIT = "jit"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="memberships")
    status = models.CharField(max_length=10, choices=Status, default=Status.INVITED)
    source = models.CharField(max_length=10, choices=Source, default=Source.INVITE)

    class Meta:
        """A user belongs to an organisation once."""

        constraints = (models.UniqueConstraint(fields=["org", "user"], name="membership_per_org_and_user"),)

    def __str__(self) -> str:
        return f"{self.user} in {self.org}"
