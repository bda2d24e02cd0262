"""The pages of the console, and how to add one.

A page is a view with a decorator; its module lies here (``console/pages/<area>.py``), or in any Django app as
``console_pages.py``, and is found without being listed anywhere::

    from headwater.control.console.pages import Entry, page
    from headwater.control.console.place import Place

    @page("flags/", name="flags", permission="flag.read", entry=Entry("Flags", icon="flag", group="Decisions"))
    def flags(request: HttpRequest, here: Place) -> HttpResponse:
        rows = Flag.objects.for_org(here.org).filter(project=here.project)
        return here.render("console/pages/flags/list.html", title="Flags", table=keyset(rows, request, by="key"))

    @page("flags/<slug:key>/", name="flag", permission="flag.read", section="flags")
    def flag(request: HttpRequest, here: Place, key: str) -> HttpResponse: ...

- The address lies below ``/o/<org>/<project>/<environment>/``; with ``whole=True`` below ``/o/<org>/-/``, for what
  belongs to the organisation. ``here`` says who reads and where (``here.org``, ``here.env``, ``here.actor``).
- ``permission`` is what one must hold on anything here to see the entry and open the page. A page about one resource
  then says ``here.need("flag.read", flag)``; a list leaves out rows for which ``here.holds(permission, name)`` is
  False. An organisation one does not belong to does not exist (404).
- What changes state is a POST: ``submit(here, form, run, back=...)`` of ``console.forms`` runs an action, and shows
  what it refuses in the form. Everything an action raises that a page does not catch becomes a page that says so.
- Templates extend ``console/base.html`` and ``{% load console %}``: ``{% to "flag" flag.key %}`` is an address here,
  ``{% icon "flag" %}`` a picture; ``console/parts/*.html`` are the components, each explained at its top.
- No inline script or style: behaviour comes from ``data-`` attributes (``static/headwater/console/app.js``) and htmx.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Concatenate, Final, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from headwater.control.console.place import Place, place_of, remember
from headwater.core.errors import HeadwaterError

__all__ = ["FORM", "PAGES", "Entry", "Page", "navigation", "page", "patterns"]

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, Place, P], HttpResponse]
FORM: Final = ("GET", "POST")
"""The methods of a page with a form: one shows it, the other sends it."""
GROUPS: Final = ("", "Data", "Models", "Decisions", "Organisation")
"""In the order of the navigation; an app's own group follows them."""
_HERE: Final = "o/<place:org>/<place:project>/<place:environment>/"
_WHOLE: Final = "o/<place:org>/-/"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the navigation. ``icon`` is a symbol of ``icons.svg``; a lower ``order`` comes first."""

    title: str
    icon: str
    group: str = ""
    order: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """A registered page. ``section`` is the name of the page whose entry is marked while this one is read."""

    name: str
    route: str
    view: Callable[..., HttpResponse]
    permission: str | None
    whole: bool
    section: str
    entry: Entry | None
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as one reader sees it."""

    title: str
    icon: str
    url: str
    current: bool


_pages: Final[dict[str, Page]] = {}
PAGES: Final[Mapping[str, Page]] = MappingProxyType(_pages)


def page(
    route: str,
    *,
    name: str,
    permission: str | None,
    entry: Entry | None = None,
    section: str = "",
    whole: bool = False,
    methods: tuple[str, ...] = ("GET",),
) -> Callable[[View[P]], View[P]]:
    """Register a view as a page of the console.

    Args:
        route: below the environment's address, or the organisation's; as Django's ``path`` takes it.
        name: the page's, unique; ``{% to name … %}`` leads there.
        permission: what the reader must hold on anything here; None: being a member suffices.
        entry: in the navigation; default: none, for pages that others lead to.
        section: the page whose entry is marked; default: this one.
        whole: whether the page belongs to the organisation and not to an environment.
        methods: what the view answers to: ``("POST",)`` for what a button does, ``FORM`` for a form.

    Raises:
        ValueError: the name is taken.
    """

    def register(view: View[P]) -> View[P]:
        known = _pages.get(name)
        if known is not None and known.view.__qualname__ != view.__qualname__:
            raise ValueError(f"there is a page {name!r} already")
        _pages[name] = Page(name, route, view, permission, whole, section or name, entry, methods)
        return view

    return register


def navigation(here: Place) -> list[tuple[str, list[Link]]]:
    """Return the entries that the reader may open, by group."""
    groups: dict[str, list[tuple[int, Link]]] = {group: [] for group in GROUPS}
    for item in _pages.values():
        if item.entry is None or not _open_to(here, item):
            continue
        link = Link(item.entry.title, item.entry.icon, here.url(item.name), current=here.section == item.name)
        groups.setdefault(item.entry.group, []).append((item.entry.order, link))
    ordered = {group: [link for _, link in sorted(links, key=lambda pair: pair[0])] for group, links in groups.items()}
    return [(group, links) for group, links in ordered.items() if links]


def patterns() -> list[URLPattern]:
    """Return the addresses of every registered page."""
    return [
        path((_WHOLE if item.whole else _HERE) + item.route, _guard(item), name=item.name) for item in _pages.values()
    ]


def _open_to(here: Place, item: Page) -> bool:
    if not item.whole and here.environment is None:
        return False
    return item.permission is None or here.holds_any(item.permission, whole=item.whole)


def _guard(item: Page) -> Callable[..., HttpResponse]:
    """Return the view behind sign-in, tenancy and permission, with refusals as pages."""
    allowed = ("HEAD", *item.methods) if "GET" in item.methods else item.methods

    @never_cache
    @require_http_methods(allowed)
    @login_required
    @functools.wraps(item.view)
    def view(request: HttpRequest, org: str, project: str = "", environment: str = "", **rest: Any) -> HttpResponse:
        here = place_of(request, org, project, environment)
        here.section = item.section
        if not _open_to(here, item):
            response = _refuse(here, HeadwaterError("forbidden", f"You lack {item.permission} here"))
        else:
            try:
                response = item.view(request, here, **rest)
            except HeadwaterError as error:
                response = _refuse(here, error)
        remember(response, here)
        return response

    return view


def _refuse(here: Place, error: HeadwaterError) -> HttpResponse:
    if error.status == HTTPStatus.NOT_FOUND:
        raise Http404 from error
    titles = {403: "You may not see this", 409: "Somebody was faster", 503: "The services are away"}
    title = titles.get(error.status, "That did not work")
    return here.render("console/refused.html", title=title, http_status=error.status, error=error)
