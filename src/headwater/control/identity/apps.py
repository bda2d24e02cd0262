"""Identity as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    """Users and how they come in."""

    name = "headwater.control.identity"
    label = "identity"

    def ready(self) -> None:
        """Listen to what allauth does to accounts, and know every action."""
        from headwater.control.identity import invitations, listening  # noqa: F401, PLC0415 - models are ready now

        listening.connect()
