"""Snapshots as a Django app."""

from __future__ import annotations

from django.apps import AppConfig

from headwater.control.kit.hooks import plug


class SnapshotsConfig(AppConfig):
    """Compiles, signs and publishes what the data plane obeys."""

    name = "headwater.control.snapshots"
    label = "snapshots"

    def ready(self) -> None:
        """See every row that actions touch, before they commit."""
        from headwater.control.snapshots.publish import publish_touched  # noqa: PLC0415 - models load after apps

        plug(before_commit=publish_touched)
