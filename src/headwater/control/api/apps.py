"""The control API as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """Routes under ``/api/v1``."""

    name = "headwater.control.api"
    label = "api"
    verbose_name = "Control API"
