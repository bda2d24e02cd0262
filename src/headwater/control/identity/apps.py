"""Identity as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    """Users and how they log in."""

    name = "headwater.control.identity"
    label = "identity"
