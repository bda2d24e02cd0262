"""The console as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """The admin's look, the home page, sign-in."""

    name = "headwater.control.console"
    label = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        """Give the admin its home page."""
        # The skin puts its own site in place while apps load, so this one is found now and not before.
        from django.contrib import admin  # noqa: PLC0415

        admin.site.index_template = "console/admin/home.html"
