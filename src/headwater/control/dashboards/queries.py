"""Reading dashboards, and what is known of the endpoints that they ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headwater.control.catalog.models import Endpoint, EndpointRevision
from headwater.control.dashboards.models import Dashboard, DashboardRevision
from headwater.control.orgs.models import Environment
from headwater.core.dashboards.fit import Shape
from headwater.core.endpoints import endpoint_label
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec


def find_dashboard(environment: Environment, name: str) -> Dashboard:
    """Return a dashboard by its name; raises ``not_found``."""
    rows = Dashboard.objects.for_org(environment.org_id).filter(environment=environment, name=name)
    found: Dashboard | None = rows.select_related("environment__project").first()
    if found is None:
        raise HeadwaterError("not_found", f"there is no dashboard {name[:100]!r}")
    return found


def newest_revision(dashboard: Dashboard) -> DashboardRevision:
    """Return the revision of a dashboard that is shown."""
    rows = DashboardRevision.objects.for_org(dashboard.org_id).filter(dashboard=dashboard)
    found: DashboardRevision = rows.get(number=dashboard.number)
    return found


def newest_revisions(dashboards: Iterable[Dashboard]) -> Mapping[Any, DashboardRevision]:
    """Return the revisions that are shown of several dashboards of one organisation, by the dashboards' keys."""
    shown = {dashboard.pk: dashboard for dashboard in dashboards}
    if not shown:
        return {}
    org_id = next(iter(shown.values())).org_id
    rows = DashboardRevision.objects.for_org(org_id).filter(dashboard__in=shown)
    return {row.dashboard_id: row for row in rows if row.number == shown[row.dashboard_id].number}


def shapes_of(environment: Environment) -> dict[str, Shape]:
    """Return the endpoints of an environment that answer, by label: each by its name and by name and version."""
    endpoints = {
        row.pk: row
        for row in Endpoint.objects.for_org(environment.org_id).filter(environment=environment, archived_at=None)
    }
    revisions = EndpointRevision.objects.for_org(environment.org_id).filter(endpoint__in=endpoints)
    found: dict[str, Shape] = {}
    newest: dict[str, int] = {}
    for revision in revisions.defer("source").order_by("number"):
        spec = revision.spec
        name, version = endpoints[revision.endpoint_id].name, int(spec.get("version", 1))
        shape = shape_of(spec)
        found[endpoint_label(name, version)] = shape
        if version >= newest.get(name, 0) and not (spec.get("deprecated_at") and name in found):
            newest[name] = version
            found[name] = shape
    return found


def shape_of(spec: Mapping[str, Any]) -> Shape:
    """Return what an endpoint's spec tells about it."""
    parameters = tuple(ParameterSpec.model_validate(item) for item in spec.get("parameters", ()))
    columns = tuple((str(item["name"]), str(item["type"])) for item in spec.get("columns", ()))
    return Shape(parameters, columns)
