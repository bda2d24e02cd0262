"""The console's addresses: its front door, and every page that is registered here or by another app."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from django.urls import URLPattern, include, path
from django.utils.module_loading import autodiscover_modules

from headwater.control.console import front, pages
from headwater.control.console.pages.dashboard_data import chart_script


def _discover() -> list[URLPattern]:
    for module in pkgutil.iter_modules(pages.__path__):
        import_module(f"{pages.__name__}.{module.name}")
    autodiscover_modules("console_pages")
    return pages.patterns()


_pages = [path("o/<place:org>/", front.organization, name="organization"), *_discover()]
urlpatterns = [
    path("", front.front_door, name="home"),
    path("assets/<str:name>", chart_script, name="chart-script"),
    path("", include((_pages, "console"))),
]
