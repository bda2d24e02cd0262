"""Identity as a Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.auth.signals import user_login_failed


class IdentityConfig(AppConfig):
    """Users and how they log in."""

    name = "headwater.control.identity"
    label = "identity"

    def ready(self) -> None:
        """Listen for failed logins."""
        from headwater.control.identity.failures import on_login_failed  # noqa: PLC0415 - models are ready now

        user_login_failed.connect(on_login_failed, dispatch_uid="headwater.identity")
