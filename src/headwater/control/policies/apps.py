"""Policies as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class PoliciesConfig(AppConfig):
    """Policies on rows and columns."""

    name = "headwater.control.policies"
    label = "policies"
    verbose_name = "Policies"

    def ready(self) -> None:
        """Say which roles policies name."""
        from headwater.control.policies import role_uses  # noqa: F401, PLC0415 - models are ready now
