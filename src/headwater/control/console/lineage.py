"""Who uses what: the endpoints, feature views and models that read a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import OuterRef, Subquery

from headwater.control.catalog.models import Dataset, Endpoint, EndpointRevision
from headwater.control.console.place import Place
from headwater.control.features.models import FeatureView
from headwater.control.registry.models import LineageEdge
from headwater.control.registry.queries import list_dependents


@dataclass(slots=True)
class Uses:
    """What reads a dataset in one environment, as far as the reader may see it."""

    endpoints: list[Endpoint] = field(default_factory=list)
    views: list[FeatureView] = field(default_factory=list)
    models: list[LineageEdge] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.endpoints or self.views or self.models)


def uses_of(dataset: Dataset, here: Place) -> Uses:
    """Return what reads ``dataset`` here."""
    views = FeatureView.objects.for_org(here.org).filter(environment=here.env, dataset=dataset, archived_at=None)
    edges = list_dependents(here.project, dataset=dataset.name)
    return Uses(
        [item for item in endpoints_reading(dataset, here) if here.holds("endpoint.read", item.name)],
        [view for view in views if here.holds("feature.read", view.name)],
        [edge for edge in edges if here.holds("model.read", edge.version.model.name)],
    )


def endpoints_reading(dataset: Dataset, here: Place) -> list[Endpoint]:
    """Return the endpoints of this environment whose newest revision names ``dataset`` among its tables."""
    newest = EndpointRevision.objects.for_org(here.org).filter(endpoint=OuterRef("pk")).order_by("-number")
    rows = Endpoint.objects.for_org(here.org).filter(environment=here.env, archived_at=None)
    found: list[Any] = list(rows.annotate(tables=Subquery(newest.values("spec__tables")[:1])))
    return [row for row in found if dataset.name in (row.tables or ())]
