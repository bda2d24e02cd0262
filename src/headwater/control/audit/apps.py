"""Audit as a Django app."""

from __future__ import annotations

from django.apps import AppConfig

from headwater.control.kit.hooks import plug


class AuditConfig(AppConfig):
    """The append-only log; writes the row of every action."""

    name = "headwater.control.audit"
    label = "audit"

    def ready(self) -> None:
        """Become the recorder of actions."""
        from headwater.control.audit.record import record  # noqa: PLC0415 - models load after apps

        plug(recorder=record)
