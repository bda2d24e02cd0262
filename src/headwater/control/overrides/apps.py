"""Overrides as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class OverridesConfig(AppConfig):
    """Overrides of what models answer."""

    name = "headwater.control.overrides"
    label = "overrides"
    verbose_name = "Overrides"
