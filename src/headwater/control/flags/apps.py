"""Feature flags as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class FlagsConfig(AppConfig):
    """Flags, their configurations and how often they are evaluated."""

    name = "headwater.control.flags"
    label = "flags"
    verbose_name = "Flags"
