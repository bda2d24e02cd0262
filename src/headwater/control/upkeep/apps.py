"""Upkeep as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class UpkeepConfig(AppConfig):
    """Regular work; no tables of its own."""

    name = "headwater.control.upkeep"
    label = "upkeep"
