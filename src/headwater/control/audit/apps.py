"""Audit as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The append-only log; writes the row of every action."""

    name = "headwater.control.audit"
    label = "audit"
