"""The kit as a Django app: it finds every app's actions once all models are loaded."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class KitConfig(AppConfig):
    """Holds the outbox; loads ``actions`` modules so that the registry of actions is complete."""

    name = "headwater.control.kit"
    label = "kit"

    def ready(self) -> None:
        """Import every app's actions and what it contributes to snapshots."""
        autodiscover_modules("actions", "contributions")
