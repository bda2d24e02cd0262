"""Organisations as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class OrgsConfig(AppConfig):
    """Organisations, projects, environments, memberships."""

    name = "headwater.control.orgs"
    label = "orgs"
