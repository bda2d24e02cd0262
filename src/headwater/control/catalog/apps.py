"""The catalogue as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    """Datasets, contracts, endpoints, quarantine."""

    name = "headwater.control.catalog"
    label = "catalog"
    verbose_name = "Data"
