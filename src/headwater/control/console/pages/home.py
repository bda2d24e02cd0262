"""Home: what happens in an environment, and what wants somebody's attention."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place


@page("", name="home", permission=None, entry=Entry("Home", "home", order=0))
def home(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show the environment."""
    return here.render("console/pages/home.html", title="Home")
