"""Model monitoring as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """Alerts and reports."""

    name = "headwater.control.monitoring"
    label = "monitoring"
    verbose_name = "Model monitoring"
