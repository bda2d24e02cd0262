"""Policies as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class PoliciesConfig(AppConfig):
    """Policies on rows and columns."""

    name = "headwater.control.policies"
    label = "policies"
    verbose_name = "Policies"
