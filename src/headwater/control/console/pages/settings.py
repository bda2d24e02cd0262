"""Settings of an organisation: its name, its projects and environments."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place


@page(
    "settings/", name="settings", permission=None, whole=True,
    entry=Entry("Settings", "settings", "Organisation", order=90),
)  # fmt: skip
def settings(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show the organisation."""
    return here.render("console/pages/settings/index.html", title="Settings")
