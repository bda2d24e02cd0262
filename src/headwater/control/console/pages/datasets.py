"""Datasets: what there is, whether it flows, and everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse

from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.data_plane import DatasetStatus
from headwater.control.catalog.models import Activation, Dataset
from headwater.control.console.dataset_page import field_lines
from headwater.control.console.overview import asking
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset


@dataclass(frozen=True, slots=True)
class Line:
    """A dataset in this environment: what the catalogue says and, if they answer, what the services count."""

    dataset: Dataset
    version: str
    status: DatasetStatus | None

    @property
    def state(self) -> str:
        """Return the state in a word."""
        if self.dataset.archived_at is not None:
            return "archived"
        return "active" if self.version else "no contract here"


@page("datasets/", name="datasets", permission="dataset.read", entry=Entry("Datasets", "table", "Data", order=10))
def datasets(request: HttpRequest, here: Place) -> HttpResponse:
    """List the project's datasets with what came in here."""
    rows = Dataset.objects.for_org(here.org).filter(project=here.project)
    if not here.holds("dataset.read"):
        rows = rows.filter(name__in=here.named("dataset.read"))
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(description__icontains=q))
    table = keyset(rows, request, by="name")
    lines, away = _lines(here, table.rows)
    return here.render(
        "console/pages/datasets/list.html", title="Datasets", lines=lines, table=table, away=away, q=q,
        lead="What this project keeps, and what came in to this environment.",
    )  # fmt: skip


@page("datasets/<slug:name>/", name="dataset", permission="dataset.read", section="datasets")
def dataset(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show one dataset."""
    row = Dataset.objects.for_org(here.org).filter(project=here.project, name=name).first()
    if row is None:
        raise Http404
    here.need("dataset.read", row.grant_resource)
    active = Activation.objects.for_org(here.org).filter(environment=here.env, dataset=row)
    contract = next((item.contract for item in active.select_related("contract")), None)
    parsed = contract_from_spec(contract.spec) if contract else None
    return here.render(
        "console/pages/datasets/detail.html", title=row.name, lead=row.description, dataset=row, contract=contract,
        fields=list(field_lines(parsed)) if parsed else [], back=here.url("datasets"), back_title="Datasets",
    )  # fmt: skip


def _lines(here: Place, rows: list[Any]) -> tuple[list[Line], str]:
    active = {
        item.dataset_id: item.contract.version
        for item in Activation.objects.for_org(here.org)
        .filter(environment=here.env, dataset__in=[row.pk for row in rows])
        .select_related("contract")
        .defer("contract__spec", "contract__source")
    }
    with asking() as services:
        answered: Sequence[DatasetStatus] = services.ask(lambda plane: plane.datasets(here.env.public_id), ())
    statuses = {status.name: status for status in answered}
    return [Line(row, active.get(row.pk, ""), statuses.get(row.name)) for row in rows], services.away
