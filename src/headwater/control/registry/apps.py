"""The model registry as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Models, versions, deployments."""

    name = "headwater.control.registry"
    label = "registry"
    verbose_name = "Models"
