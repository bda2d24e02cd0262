"""Access as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class AccessConfig(AppConfig):
    """Roles, grants, service accounts, keys; decides who may act."""

    name = "headwater.control.access"
    label = "access"
