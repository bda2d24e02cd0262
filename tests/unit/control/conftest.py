"""Every test of the control plane runs in Django, with a home and a database that are thrown away."""

from __future__ import annotations

from tests.builders.control import (
    _sealed_again,
    committed,
    control_home,
    django_db_modify_db_settings,
    environment,
    owner,
)

__all__ = [
    "_sealed_again",
    "committed",
    "control_home",
    "django_db_modify_db_settings",
    "environment",
    "owner",
]
