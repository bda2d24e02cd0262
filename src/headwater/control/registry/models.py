"""Models, their versions, the aliases that name some of them, and the routes that share an environment's traffic.

What happened to them lies in ``records``: checks, approvals, moved aliases, rollouts, lineage.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models

from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment, Project, slug_validator
from headwater.control.registry.content import DEFAULT_MEMORY_BYTES, DEFAULT_TIMEOUT_SECONDS
from headwater.control.registry.records import AliasMove, Approval, LineageEdge, Rollout, VersionCheck

__all__ = [
    "SHA256",
    "AliasMove",
    "Approval",
    "Deployment",
    "LineageEdge",
    "Model",
    "ModelAlias",
    "ModelVersion",
    "Rollout",
    "VersionCheck",
]

SHA256 = RegexValidator(r"\A[0-9a-f]{64}\Z", "64 lower-case hexadecimal digits are needed")


class Model(TenantEntity):
    """A named model of a project."""

    prefix: ClassVar[str] = "mdl"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="models")
    name = models.CharField(max_length=63, validators=[slug_validator])
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)

    class Meta:
        """Names are unique within a project."""

        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["project", "name"], name="model_name_in_project"),)

    def __str__(self) -> str:
        return self.name

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this model alone names."""
        return f"model:{self.name}"


class ModelVersion(TenantEntity):
    """An artifact with its signature and what is known about it, sealed; only ``state`` and ``tags`` move.

    ``number`` counts from 1 without gaps. The sealed members are those of ``content.VersionContent``; a remote model
    has no artifact.
    """

    class State(models.TextChoices):
        """A protected environment serves approved versions only; an archived one is served nowhere.

        A version is validated once its checks ran and none failed.
        """

        REGISTERED = "registered"
        VALIDATED = "validated"
        APPROVED = "approved"
        ARCHIVED = "archived"

    prefix: ClassVar[str] = "mv"

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    framework = models.CharField(max_length=20)
    artifact_sha256 = models.CharField(max_length=64, blank=True, validators=[SHA256])
    inputs = models.JSONField()
    outputs = models.JSONField()
    options = models.JSONField(default=dict, blank=True)
    features = models.JSONField(default=list, blank=True)
    examples = models.JSONField(default=list, blank=True)
    metrics = models.JSONField(default=dict, blank=True)
    training = models.JSONField(default=dict, blank=True)
    license = models.CharField(max_length=200, blank=True)
    card = models.TextField(blank=True)
    profile_sha256 = models.CharField(max_length=64, blank=True, validators=[SHA256])
    memory_bytes = models.PositiveBigIntegerField(default=DEFAULT_MEMORY_BYTES)
    timeout_seconds = models.FloatField(default=DEFAULT_TIMEOUT_SECONDS)
    limits = models.JSONField(default=dict, blank=True)
    artifact_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    pushed_by = models.CharField(max_length=64, blank=True)
    pushed_by_label = models.CharField(max_length=300, blank=True)
    spec_sha256 = models.CharField(max_length=64)
    source = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.REGISTERED)
    tags = models.JSONField(default=dict, blank=True)

    class Meta:
        """Numbers are unique within a model."""

        ordering = ("model", "-number")
        constraints = (models.UniqueConstraint(fields=["model", "number"], name="version_number_in_model"),)

    def __str__(self) -> str:
        return f"{self.model.name} v{self.number}"

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the model belongs to."""
        return self.model.project_id

    @property
    def grant_resource(self) -> str:
        """Return what a grant on the model alone names."""
        return self.model.grant_resource


class ModelAlias(TenantEntity):
    """A name for a version that moves by action, such as ``champion``."""

    prefix: ClassVar[str] = "ma"

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="aliases")
    name = models.CharField(max_length=63, validators=[slug_validator])
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases")

    class Meta:
        """An alias names one version."""

        ordering = ("model", "name")
        constraints = (models.UniqueConstraint(fields=["model", "name"], name="alias_name_in_model"),)

    def __str__(self) -> str:
        return f"{self.model.name}@{self.name}"

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the model belongs to."""
        return self.model.project_id

    @property
    def grant_resource(self) -> str:
        """Return what a grant on the model alone names."""
        return self.model.grant_resource


class Deployment(TenantEntity):
    """A share of a model's traffic in an environment. The weights of primary and canaries sum to 10,000."""

    class Role(models.TextChoices):
        """Shadows see requests and answer nobody; pinned versions answer only where the path names them."""

        PRIMARY = "primary"
        CANARY = "canary"
        SHADOW = "shadow"
        PINNED = "pinned"

    prefix: ClassVar[str] = "dep"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="deployments")
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="deployments")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="deployments")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.PRIMARY)
    weight_bps = models.PositiveIntegerField(default=10_000, validators=[MaxValueValidator(10_000)])

    class Meta:
        """A version has one route per environment."""

        ordering = ("model", "role")
        constraints = (models.UniqueConstraint(fields=["environment", "version"], name="one_route_per_version"),)

    def __str__(self) -> str:
        return f"{self.version} in {self.environment} ({self.role})"
