"""Dashboards as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class DashboardsConfig(AppConfig):
    """Dashboards and their revisions."""

    name = "headwater.control.dashboards"
    label = "dashboards"
    verbose_name = "Dashboards"
