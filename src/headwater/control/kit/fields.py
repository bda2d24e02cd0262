"""Model fields whose type says how they may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    Text = models.CharField[Any, Any]
else:
    Text = models.CharField


class UnrecordedJSON(models.JSONField):
    """A document that the audit log does not repeat: it may be large, and speak of people."""


class SecretField(Text):
    """Text that is never written to the audit log, not even hashed."""
