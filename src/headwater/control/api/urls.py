"""The control API's address: its routes, its OpenAPI document and its documentation page."""

from __future__ import annotations

from django.conf import settings
from django.urls import path, re_path

from headwater import __version__
from headwater.control.api import (
    access,
    audit,
    dashboards,
    datasets,
    deployments,
    endpoints,
    features,
    flags,
    jobs,
    keys,
    monitoring,
    organizations,
    overrides,
    policies,
    projects,
    quarantine,
    queries,
    registry,
    reviews,
    roles,
    sign_in,
    snapshots,
)
from headwater.control.api.auth import KeyAuth, SessionAuth
from headwater.control.api.openapi import ControlApi
from headwater.control.api.problems import install_handlers, nothing_here, with_problems
from headwater.control.kit.own_apps import own_routers

api = ControlApi(
    title="Headwater control API",
    version=__version__,
    description=(
        "Everything that can be declared, granted and decided. Send `Authorization: Bearer hw_…`, or use the session "
        "of a signed-in browser with the CSRF token. Errors are RFC 9457 problem documents with a stable `code`."
    ),
    urls_namespace="control-api",
    auth=[KeyAuth(), SessionAuth()],
)
install_handlers(api)
api.add_router("", projects.router)
api.add_router("", monitoring.own)
api.add_router("", access.own)
api.add_router("", sign_in.own)
api.add_router("/organizations", sign_in.router)
for module in (
    organizations,
    access,
    roles,
    policies,
    keys,
    datasets,
    endpoints,
    dashboards,
    features,
    flags,
    registry,
    deployments,
    monitoring,
    quarantine,
    queries,
    jobs,
    snapshots,
    audit,
    reviews,
    overrides,
):
    api.add_router("/organizations", module.router)
for name, router in own_routers(settings.OWN_APPS).items():
    api.add_router(f"/x/{name}", router, tags=[f"This project: {name}"])

_patterns, _app, _namespace = api.urls
urlpatterns = [
    path("", ([with_problems(pattern) for pattern in _patterns], _app, _namespace)),
    re_path(r"^(?P<_rest>(?s:.*))\Z", nothing_here),  # with line breaks, which no converter takes
]
