"""The front door: `/` leads to where the reader was last, or says why there is nowhere to go."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from headwater.control.api.caller import Caller
from headwater.control.console import addresses as addresses  # noqa: PLC0414 - registers the converter of our addresses
from headwater.control.console.place import COOKIE, place_of


@never_cache
@login_required
def front_door(request: HttpRequest) -> HttpResponse:
    """Lead members to their console, and staff who belong to no organisation to the admin."""
    organizations = Caller.with_user(request.user).organizations().order_by("name")
    last = request.COOKIES.get(COOKIE, "").partition("/")[0]
    found = organizations.filter(slug=last).first() or organizations.first()
    if found is not None:
        return redirect("console:organization", found.slug)
    if request.user.is_staff:
        return redirect("admin:index")
    return render(request, "console/nowhere.html", {"title": "Welcome to Headwater"})


@never_cache
@login_required
def organization(request: HttpRequest, org: str) -> HttpResponse:
    """Lead to the environment of ``org`` that was looked at last, or to its settings while it has none."""
    here = place_of(request, org)
    return redirect(here.url("home") if here.environment is not None else here.url("settings"))
