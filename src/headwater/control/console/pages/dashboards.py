"""Dashboards, so far as they are: which answers of this environment could be charted."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse

from headwater.control.catalog.models import Endpoint, EndpointRevision
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place

SHOWN: Final = 50


@page(
    "dashboards/", name="dashboards", permission="endpoint.read", entry=Entry("Dashboards", "chart", "Data", order=40)
)
def dashboards(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Say what is charted today, and list the endpoints that need no parameters."""
    rows = Endpoint.objects.for_org(here.org).filter(environment=here.env, archived_at=None).order_by("name")
    found = [row for row in rows[: 2 * SHOWN] if here.holds("endpoint.read", row.name)][:SHOWN]
    revisions = EndpointRevision.objects.for_org(here.org).filter(endpoint__in=[row.pk for row in found])
    newest: dict[Any, dict[str, Any]] = {
        item.endpoint_id: item.spec for item in revisions.defer("source").order_by("number")
    }
    ready = [row for row in found if not any(item.get("required") for item in newest[row.pk].get("parameters", ()))]
    return here.render("console/pages/dashboards/index.html", title="Dashboards", ready=ready)
