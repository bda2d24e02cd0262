"""What is known about models and happened to them: checks, approvals, moved aliases, rollouts, lineage."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from headwater.control.kit.actions import current_action
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment

_MODEL = "registry.Model"
_VERSION = "registry.ModelVersion"


class VersionCheck(TenantEntity):
    """What a check found about a version, newest run only; the audit log keeps the runs before."""

    class Status(models.TextChoices):
        """What failed keeps a version from being approved unless that is overridden with a reason."""

        PASSED = "passed"
        FAILED = "failed"
        WARNED = "warned"
        SKIPPED = "skipped"

    prefix: ClassVar[str] = "chk"

    version = models.ForeignKey(_VERSION, on_delete=models.PROTECT, related_name="checks")
    name = models.CharField(max_length=40)
    status = models.CharField(max_length=10, choices=Status.choices)
    detail = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        """A check has one result for each version."""

        ordering = ("version", "created_at")
        constraints = (models.UniqueConstraint(fields=["version", "name"], name="check_name_in_version"),)

    def __str__(self) -> str:
        return f"{self.version}: {self.name} {self.status}"

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the model belongs to."""
        return self.version.project_id


class Approval(TenantEntity):
    """Somebody's word that a version may be served in protected environments, for good."""

    prefix: ClassVar[str] = "apv"

    version = models.ForeignKey(_VERSION, on_delete=models.PROTECT, related_name="approvals")
    by_id = models.CharField(max_length=64)
    by_label = models.CharField(max_length=300)
    reason = models.CharField(max_length=500)
    overridden = models.JSONField(default=list, blank=True)

    class Meta:
        """Newest first."""

        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.version}, approved by {self.by_label}"


class AliasMove(TenantEntity):
    """That an alias came to mean another version, or none."""

    prefix: ClassVar[str] = "amv"

    model = models.ForeignKey(_MODEL, on_delete=models.PROTECT, related_name="alias_moves")
    name = models.CharField(max_length=63)
    version = models.ForeignKey(_VERSION, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    before = models.ForeignKey(_VERSION, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    by_id = models.CharField(max_length=64)
    by_label = models.CharField(max_length=300)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        """Newest first."""

        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"@{self.name}: {self.before or 'nothing'} to {self.version or 'nothing'}"


class Rollout(TenantEntity):
    """How a model is served in an environment from some moment on: its routes and rules. Numbered, never changed.

    The newest one is in force; those before it say which version answered before, which is what a rollback goes by.
    """

    class Cause(models.TextChoices):
        """What led to it."""

        PROMOTED = "promoted"
        DEPLOYED = "deployed"
        ROUTED = "routed"
        ROLLED_BACK = "rolled_back"
        RULED = "ruled"
        FOUND = "found"

    prefix: ClassVar[str] = "rol"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="+")
    model = models.ForeignKey(_MODEL, on_delete=models.PROTECT, related_name="rollouts")
    number = models.PositiveIntegerField()
    cause = models.CharField(max_length=12, choices=Cause.choices)
    champion = models.ForeignKey(_VERSION, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    routes = models.JSONField(default=list, blank=True)
    rules = models.JSONField(default=dict, blank=True)
    declared = models.JSONField(default=dict, blank=True)
    by_id = models.CharField(max_length=64)
    by_label = models.CharField(max_length=300)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        """Numbers are unique within a model and environment."""

        ordering = ("model", "environment", "-number")
        constraints = (
            models.UniqueConstraint(fields=["environment", "model", "number"], name="rollout_number_in_environment"),
        )

    def __str__(self) -> str:
        return f"rollout {self.number} of {self.model} in {self.environment}"


class LineageEdge(TenantEntity):
    """That a version was made from a dataset, or reads a feature view. By name: the other end may come or go."""

    class Kind(models.TextChoices):
        """Which way the version depends on it."""

        TRAINED_ON = "trained_on"
        READS_VIEW = "reads_view"

    prefix: ClassVar[str] = "lin"

    version = models.ForeignKey(_VERSION, on_delete=models.PROTECT, related_name="lineage")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    name = models.CharField(max_length=200)
    table_version = models.PositiveBigIntegerField(null=True, blank=True)
    members = models.JSONField(default=list, blank=True)

    class Meta:
        """An edge exists once; looked up from either end."""

        ordering = ("version", "kind", "name")
        constraints = (models.UniqueConstraint(fields=["version", "kind", "name"], name="lineage_edge_once"),)
        indexes = (models.Index(fields=["org", "kind", "name"], name="lineage_by_name"),)

    def __str__(self) -> str:
        return f"{self.version} {self.kind} {self.name}"


def who_and_why() -> dict[str, Any]:
    """Return what a record says about the running action: who acts, and the reason given."""
    context = current_action()
    if context is None:
        raise RuntimeError("no action runs")
    return {"by_id": context.actor.id, "by_label": context.actor.label[:300], "reason": context.reason[:500]}
