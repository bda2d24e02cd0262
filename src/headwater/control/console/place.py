"""Where a reader of the console stands: an organisation, and mostly an environment of one of its projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse

from headwater.control.access.authority import Scope, allowances_for, authorize, has_permission
from headwater.control.api.caller import Caller
from headwater.control.kit.actions import Actor
from headwater.control.kit.contributions import EnvironmentRef
from headwater.control.orgs.models import Environment, Organization, Project
from headwater.core.permissions import PERMISSIONS, is_allowed

COOKIE: Final = "hw_place"
"""Remembers ``org/project/environment`` so that `/` and the pages of an organisation lead back to where one was."""
MOST_ORGANIZATIONS: Final = 30
"""In the switcher; who operates the platform sees them all and finds the others in the admin."""


@dataclass
class Place:
    """Who reads, and where. Every page takes one; it answers what the reader may do here.

    ``environment`` is None on the pages of an organisation that has none yet.
    """

    request: HttpRequest
    caller: Caller
    org: Organization
    environments: list[Environment]
    environment: Environment | None = None
    section: str = ""
    _held: dict[bool, frozenset[str]] = field(default_factory=dict)

    @property
    def actor(self) -> Actor:
        """Return the reader as somebody who acts."""
        return self.caller.actor

    @property
    def env(self) -> Environment:
        """Return the environment of a page that has one; 404 on the pages of an organisation without any."""
        if self.environment is None:
            raise Http404
        return self.environment

    @property
    def project(self) -> Project:
        """Return the environment's project."""
        return self.env.project

    def scope(self, resource: str = "") -> Scope:
        """Return where permissions are needed: this environment, or ``resource`` in it (``dataset:flights``)."""
        return Scope(self.org.pk, self.env.project_id, self.env.pk, resource)

    def need(self, permission: str, target: Any = None) -> None:
        """Raise ``forbidden`` unless the reader holds ``permission`` on ``target``.

        Args:
            permission: such as ``dataset.read``.
            target: an organisation or a row of one; a resource such as ``dataset:flights`` of this environment;
                default: the whole environment.
        """
        authorize(self.actor, permission, self._target(target))

    def may(self, permission: str, target: Any = None) -> bool:
        """Return whether the reader holds ``permission`` on ``target``, as ``need`` understands it."""
        return has_permission(self.actor.subject, permission, self._target(target))

    def holds(self, permission: str, name: str = "*") -> bool:
        """Return whether the reader holds ``permission`` in this environment on the resource ``name``.

        Asks what was compiled once for the request, so lists may call it for every row.
        """
        return is_allowed(self._allowed(whole=False), permission, name)

    def holds_any(self, permission: str, *, whole: bool = False) -> bool:
        """Return whether the reader holds ``permission`` on anything here; ``whole``: on the whole organisation."""
        allowed = self._allowed(whole=whole)
        return any(item.startswith(f"{permission}:") for item in allowed)

    def named(self, permission: str) -> list[str]:
        """Return the resources of this environment on which the reader holds ``permission`` by name."""
        prefix = f"{permission}:"
        return sorted(item.removeprefix(prefix) for item in self._allowed(whole=False) if item.startswith(prefix))

    def _target(self, target: Any) -> Any:
        if target is None:
            return self.scope()
        return self.scope(target) if isinstance(target, str) else target

    def _allowed(self, *, whole: bool) -> frozenset[str]:
        if whole not in self._held:
            self._held[whole] = self._compile(whole=whole)
        return self._held[whole]

    def _compile(self, *, whole: bool) -> frozenset[str]:
        if self.actor.subject.is_superuser:
            return frozenset(f"{permission}:*" for permission in PERMISSIONS)
        if not whole and self.environment is not None:
            return allowances_for(self.actor.subject, self.environment).allowed
        return allowances_for(self.actor.subject, _everywhere(self.org)).allowed

    @cached_property
    def organizations(self) -> list[Organization]:
        """Return the organisations to switch to."""
        return list(self.caller.organizations().order_by("name")[:MOST_ORGANIZATIONS])

    @property
    def projects(self) -> Mapping[str, list[Environment]]:
        """Return the environments to switch to by the names of their projects."""
        found: dict[str, list[Environment]] = {}
        for environment in self.environments:
            found.setdefault(environment.project.name, []).append(environment)
        return found

    def url(self, name: str, *args: Any, environment: Environment | None = None) -> str:
        """Return the address of a page here, or in another environment of the organisation."""
        there = environment or self.environment
        if there is not None:
            try:
                return reverse(f"console:{name}", args=[self.org.slug, there.project.slug, there.key, *args])
            except NoReverseMatch:
                pass
        return reverse(f"console:{name}", args=[self.org.slug, *args])

    def render(self, template: str, *, title: str, http_status: int = 200, **context: Any) -> HttpResponse:
        """Return a page in the console's shell."""
        # Loaded when first asked: the registry of pages knows this module.
        from headwater.control.console.pages import navigation  # noqa: PLC0415

        whole = {"here": self, "title": title, "navigation": navigation(self), **context}
        return render(self.request, template, whole, status=http_status)


def place_of(request: HttpRequest, org: str, project: str = "", environment: str = "") -> Place:
    """Return the place that an address names; 404 for what does not exist for the reader.

    On an organisation's own pages the environment is the one looked at last.
    """
    caller = Caller.with_user(request.user)
    found = caller.organizations().filter(slug=org).first()
    if found is None:
        raise Http404
    environments = list(
        Environment.objects.for_org(found).select_related("project", "org").order_by("project__name", "key")
    )
    if project:
        here = _find(environments, project, environment)
        if here is None:
            raise Http404
    else:
        here = _last(request, found, environments)
    return Place(request, caller, found, environments, here)


def remember(response: HttpResponse, here: Place) -> None:
    """Note in a cookie where the reader was, if it is not noted yet."""
    if here.environment is None:
        return
    value = f"{here.org.slug}/{here.environment.project.slug}/{here.environment.key}"
    if here.request.COOKIES.get(COOKIE) != value:
        response.set_cookie(COOKIE, value, max_age=365 * 24 * 3600, samesite="Lax", httponly=True)


def _last(request: HttpRequest, org: Organization, environments: list[Environment]) -> Environment | None:
    slug, _, rest = request.COOKIES.get(COOKIE, "").partition("/")
    project, _, key = rest.partition("/")
    found = _find(environments, project, key) if slug == org.slug else None
    return found or (environments[0] if environments else None)


def _find(environments: Iterable[Environment], project: str, key: str) -> Environment | None:
    return next((item for item in environments if item.project.slug == project and item.key == key), None)


def _everywhere(org: Organization) -> Any:
    """Return what grants on the whole organisation reach and no others do: nowhere in particular."""
    return EnvironmentRef(id=None, project_id=None, org_id=org.pk, protected=False)  # type: ignore[arg-type]
