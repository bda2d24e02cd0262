"""Feature views as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class FeaturesConfig(AppConfig):
    """Feature views and their revisions."""

    name = "headwater.control.features"
    label = "features"
    verbose_name = "Features"
