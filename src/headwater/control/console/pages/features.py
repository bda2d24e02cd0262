"""Feature views: what each computes, from what, for whom, and how to read it."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.snippets import feature_snippets
from headwater.control.console.tables import keyset
from headwater.control.features.models import FeatureView, FeatureViewRevision
from headwater.control.registry.queries import list_dependents
from headwater.engines.features.windows import format_seconds

_EXAMPLE: Final = "…"


@page("features/", name="features", permission="feature.read", entry=Entry("Features", "feature", "Data", order=30))
def features(request: HttpRequest, here: Place) -> HttpResponse:
    """List the feature views of the environment."""
    rows = FeatureView.objects.for_org(here.org).filter(environment=here.env, archived_at=None)
    if not here.holds("feature.read"):
        rows = rows.filter(name__in=here.named("feature.read"))
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(description__icontains=q))
    table = keyset(rows.select_related("dataset"), request, by="name")
    revisions = FeatureViewRevision.objects.for_org(here.org).filter(view__in=[row.pk for row in table.rows])
    newest = {revision.view_id: revision.spec for revision in revisions.defer("source").order_by("number")}
    return here.render(
        "console/pages/features/list.html", title="Features", table=table, q=q,
        lines=[(row, newest.get(row.pk, {})) for row in table.rows],
        lead="Values of entities, the same in training and in serving.",
    )  # fmt: skip


@page("features/<slug:name>/", name="feature", permission="feature.read", section="features")
def feature(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show a feature view."""
    rows = FeatureView.objects.for_org(here.org).filter(environment=here.env, name=name).select_related("dataset")
    row = rows.first()
    if row is None:
        raise Http404
    here.need("feature.read", row.grant_resource)
    revision = row.newest
    spec: dict[str, Any] = revision.spec if revision else {}
    keys = dict.fromkeys(spec.get("entities", ()), _EXAMPLE)
    edges = list_dependents(here.project, view=row.name)
    return here.render(
        "console/pages/features/detail.html", title=row.name, lead=row.description, view=row, revision=revision,
        spec=spec, features=[{**item, "origin": _origin(item)} for item in spec.get("features", ())],
        keys=list(keys), models=[edge for edge in edges if here.holds("model.read", edge.version.model.name)],
        fresh=_span(spec.get("freshness_seconds"), "ever"), delay=_span(spec.get("delay_seconds"), "none"),
        snippets=feature_snippets(row.name, keys), back=here.url("features"), back_title="Features",
        badge="archived" if row.archived_at else "",
    )  # fmt: skip


def _origin(item: dict[str, Any]) -> str:
    if item["kind"] == "expression":
        return str(item["expression"])
    if item["kind"] == "column":
        return f"newest {item['column']}"
    return f"{item['aggregate']} of {item['column'] or 'rows'} over {format_seconds(item['window_seconds'])}"


def _span(seconds: int | None, otherwise: str) -> str:
    return format_seconds(seconds) if seconds else otherwise
