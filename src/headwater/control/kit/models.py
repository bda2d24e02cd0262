"""The outbox table."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Outbox(models.Model):
    """An event that waits to be published, or was."""

    id = models.UUIDField(primary_key=True, editable=False)
    topic = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    payload = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    published_at = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        """Waiting rows are found by a small index of their own."""

        verbose_name = "outbox event"
        indexes = (models.Index(fields=["id"], name="outbox_waiting", condition=models.Q(published_at__isnull=True)),)

    def __str__(self) -> str:
        return f"{self.topic} {self.key}"
