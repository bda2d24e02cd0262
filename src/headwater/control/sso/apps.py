"""Single sign-on as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class SsoConfig(AppConfig):
    """Domains, identity providers and the rules of signing in."""

    name = "headwater.control.sso"
    label = "sso"

    def ready(self) -> None:
        """Say which roles newcomers get."""
        from headwater.control.sso import role_uses  # noqa: F401, PLC0415 - models are ready now
