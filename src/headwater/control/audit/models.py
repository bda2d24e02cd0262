"""The audit log's tables. Triggers refuse to change or delete an event (migration ``0002``)."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.db import models

from headwater.core.ids import format_id


class AuditHead(models.Model):
    """The end of one organisation's chain; locked while an event is appended. The nil UUID is the platform's own."""

    org_id = models.UUIDField(primary_key=True)
    n = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"{self.org_id} at {self.n}"


class AuditEvent(models.Model):
    """One thing that happened. Everything is copied in, nothing referred to: the log outlives what it tells of.

    ``before``, ``after`` and ``related`` are kept as the canonical JSON text that was hashed.
    """

    prefix: ClassVar[str] = "aud"

    id = models.UUIDField(primary_key=True, editable=False)
    org_id = models.UUIDField()
    n = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=20)
    actor_id = models.CharField(max_length=100)
    actor_label = models.CharField(max_length=254)
    on_behalf_of = models.CharField(max_length=254, blank=True)
    action = models.CharField(max_length=100)
    target_kind = models.CharField(max_length=100)
    target_id = models.CharField(max_length=100)
    target_label = models.CharField(max_length=200)
    before_json = models.TextField(default="{}")
    after_json = models.TextField(default="{}")
    related_json = models.TextField(default="[]")
    reason = models.CharField(max_length=500, blank=True)
    request_id = models.CharField(max_length=100, blank=True)
    group_id = models.CharField(max_length=100)
    ip = models.CharField(max_length=45, blank=True)
    prev_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)

    class Meta:
        """Contiguous within an organisation."""

        ordering = ("-at", "-n")
        constraints = (models.UniqueConstraint(fields=["org_id", "n"], name="audit_event_number"),)
        indexes = (
            models.Index(fields=["org_id", "at"], name="audit_by_time"),
            models.Index(fields=["target_id"], name="audit_by_target"),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.target_label} by {self.actor_label}"

    @property
    def public_id(self) -> str:
        """Return the id as everybody sees it."""
        return format_id(self.prefix, self.pk)

    @property
    def before(self) -> dict[str, Any]:
        """Return the fields that differ, as they were."""
        fields: dict[str, Any] = json.loads(self.before_json)
        return fields

    @property
    def after(self) -> dict[str, Any]:
        """Return the fields that differ, as they became."""
        fields: dict[str, Any] = json.loads(self.after_json)
        return fields

    @property
    def related(self) -> list[dict[str, Any]]:
        """Return what else the action touched: kind, id, label, verb, before, after."""
        changes: list[dict[str, Any]] = json.loads(self.related_json)
        return changes


class AuditCheckpoint(models.Model):
    """A signed statement of how far a chain reached; its events up to there lie in the lake as well.

    Each covers the events after the checkpoint before it. Triggers refuse to change or delete one (``0003``).
    """

    id = models.UUIDField(primary_key=True, editable=False)
    org_id = models.UUIDField()
    n = models.PositiveBigIntegerField()
    hash = models.CharField(max_length=64)
    at = models.DateTimeField()
    first = models.PositiveBigIntegerField()
    segment_sha256 = models.CharField(max_length=64)
    signature = models.CharField(max_length=100)

    class Meta:
        """One for an event at most."""

        ordering = ("org_id", "n")
        constraints = (models.UniqueConstraint(fields=["org_id", "n"], name="audit_checkpoint_number"),)

    def __str__(self) -> str:
        return f"{self.org_id} at {self.n}"
