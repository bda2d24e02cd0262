"""Where the report of a version is read."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

from headwater.control import configuration
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion

WINDOWS: Final = {"1h": 60, "24h": 24 * 60, "7d": 7 * 24 * 60}
"""The windows that people choose from, in minutes."""
DEFAULT_WINDOW: Final = "24h"
FORMATS: Final = ("html", "png", "json")


def report_url(version: ModelVersion) -> str:
    """Return the address of a version's report for readers outside of the admin; the page knows where it is served."""
    path = reverse("admin:registry_modelversion_report", args=[version.pk], urlconf="headwater.control.urls")
    return configuration.current().control_url.rstrip("/") + path


def report_link(
    version: ModelVersion,
    environment: Environment,
    *,
    window: str = DEFAULT_WINDOW,
    form: str = "",
    absolute: bool = False,
) -> str:
    """Return the address of a version's report in the admin.

    Args:
        version: of what.
        environment: where it is served.
        window: one of ``WINDOWS``.
        form: one of ``FORMATS`` for an export; the page otherwise.
        absolute: whether the address is for readers outside of the admin.
    """
    name = f"admin:registry_modelversion_report{'_' + form if form else ''}"
    path = reverse(name, args=[version.pk], urlconf="headwater.control.urls")
    query = urlencode({"environment": environment.key, "window": window})
    base = configuration.current().control_url.rstrip("/") if absolute else ""
    return f"{base}{path}?{query}"
