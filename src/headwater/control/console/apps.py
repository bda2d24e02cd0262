"""The console as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """The admin's look, the home page, sign-in."""

    name = "headwater.control.console"
    label = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        """Give the admin its home page, and the one way to sign in that everything else has."""
        # Both import models, which are not there while apps are still being found.
        from allauth.account.decorators import secure_admin_login  # noqa: PLC0415
        from django.contrib import admin  # noqa: PLC0415

        admin.site.index_template = "console/admin/home.html"
        admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
