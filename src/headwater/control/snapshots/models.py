"""Published snapshots and what nodes say about them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from headwater.control.kit.tenancy import TenantManager, UnscopedManager
from headwater.control.orgs.models import Environment, Organization
from headwater.core.ids import new_uuid


class Snapshot(models.Model):
    """One signed state of an environment. Numbers only grow; a number is never reused, a row never changed."""

    prefix: ClassVar[str] = "snp"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    org = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="snapshots")
    number = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    schema_version = models.PositiveIntegerField()
    payload = models.TextField()
    sha256 = models.CharField(max_length=64)
    signature = models.CharField(max_length=100)
    content_sha256 = models.CharField(max_length=64, help_text="Digest of what is served, without number and time.")
    problems = models.JSONField(default=list, help_text="What could not be compiled; the last good spec stands in.")

    unscoped: ClassVar[UnscopedManager[Any]] = UnscopedManager()
    objects: ClassVar[TenantManager[Any]] = TenantManager()

    class Meta:
        """Newest first."""

        ordering = ("-number",)
        constraints = (models.UniqueConstraint(fields=["environment", "number"], name="snapshot_number"),)

    def __str__(self) -> str:
        return f"{self.environment} snapshot {self.number}"


class SnapshotAck(models.Model):
    """What one node runs: the last word it sent about an environment."""

    node = models.CharField(max_length=200)
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="acks")
    number = models.PositiveBigIntegerField()
    applied_at = models.DateTimeField()
    error = models.TextField(blank=True)
    heard_at = models.DateTimeField(default=timezone.now)

    class Meta:
        """One row a node and environment."""

        verbose_name = "acknowledgement"
        constraints = (models.UniqueConstraint(fields=["node", "environment"], name="ack_per_node"),)

    def __str__(self) -> str:
        return f"{self.node} runs {self.number}"
