"""Snapshots as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class SnapshotsConfig(AppConfig):
    """Compiles, signs and publishes what the data plane obeys."""

    name = "headwater.control.snapshots"
    label = "snapshots"
