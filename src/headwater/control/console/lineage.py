"""Who uses what: the endpoints, feature views and models that read a dataset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from headwater.control.catalog.endpoint_versions import newest_by_version
from headwater.control.catalog.models import Dataset, Endpoint
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
    columns: dict[str, list[str]] = field(default_factory=dict)

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
        columns_made_of(dataset, here),
    )


def endpoints_reading(dataset: Dataset, here: Place) -> list[Endpoint]:
    """Return the endpoints of this environment any version of which reads ``dataset``, also by way of others."""
    return [
        next(iter(versions.values())).endpoint
        for versions in newest_by_version(here.env).values()
        if any(dataset.name in revision.spec["tables"] for revision in versions.values())
    ]


def columns_made_of(dataset: Dataset, here: Place) -> dict[str, list[str]]:
    """Return, by column of ``dataset``, the columns of endpoints whose values come from it, as ``daily.amount``."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, versions in newest_by_version(here.env).items():
        if not here.holds("endpoint.read", name):
            continue
        for revision in versions.values():
            for column, origins in revision.spec.get("origins", {}).items():
                for origin in origins:
                    if origin["table"] == dataset.name:
                        found[origin["column"]].append(f"{revision.label}.{column}")
    return dict(sorted(found.items()))


def dataset_pages(here: Place, names: Iterable[str]) -> dict[str, str]:
    """Return the addresses of those of ``names`` that are datasets which the reader may see.

    Logs of predictions and of queries are tables too, and have no page.
    """
    rows = Dataset.objects.for_org(here.org).filter(project=here.env.project, name__in=names)
    found = rows.values_list("name", flat=True)
    return {name: here.url("dataset", name) for name in found if here.holds("dataset.read", name)}
