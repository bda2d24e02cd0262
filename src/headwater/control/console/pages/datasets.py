"""Datasets: what there is, whether it flows, and everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse

from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.data_plane import DISPOSITIONS, DatasetStatus, QuarantineGroup, Receipt
from headwater.control.catalog.models import Activation, ContractVersion, Dataset
from headwater.control.catalog.quarantine import discard_case, replay_case
from headwater.control.console.dataset_page import field_lines
from headwater.control.console.examples import example_row
from headwater.control.console.forms import perform
from headwater.control.console.lineage import uses_of
from headwater.control.console.overview import asking
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.snippets import ingest_snippets
from headwater.control.console.tables import keyset
from headwater.control.console.viewer import sample_rows

TABS: Final = (("dataset", "Overview"), ("dataset-quality", "Quality"), ("dataset-rows", "Sample rows"))
_DETAIL: Final = "datasets/<slug:name>/"
_VERDICTS: Final = {"replay": replay_case, "discard": discard_case}


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


@page(_DETAIL, name="dataset", permission="dataset.read", section="datasets")
def dataset(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show a dataset: counts, schema, who uses it, how to send rows."""
    row = _dataset(here, name)
    active = Activation.objects.for_org(here.org).filter(environment=here.env, dataset=row).select_related("contract")
    contract = next((item.contract for item in active), None)
    parsed = contract_from_spec(contract.spec) if contract else None
    status, away = _status(here, row)
    versions = ContractVersion.objects.for_org(here.org).filter(dataset=row).defer("spec", "source")
    context: dict[str, Any] = {
        "contract": contract,
        "parsed": parsed,
        "fields": list(field_lines(parsed)) if parsed else [],
        "versions": versions[:10],
        "status": status,
        "tallies": _tallies(status),
        "away": away,
        "sees_policies": here.may("policy.read"),
        "uses": uses_of(row, here),
        "snippets": ingest_snippets(row.name, example_row(parsed)) if parsed else [],
    }
    return _render(here, "overview", row, "dataset", **context)


@page(f"{_DETAIL}quality/", name="dataset-quality", permission="dataset.read", section="datasets")
def quality(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show what was refused and why, and the newest receipts."""
    row = _dataset(here, name)
    sees_rows = here.may("quarantine.read", row.grant_resource)
    with asking() as services:
        found: Sequence[QuarantineGroup] = services.ask(
            lambda plane: plane.quarantine_groups(here.env.public_id, row.name), ()
        )
        receipts: Sequence[Receipt] = services.ask(lambda plane: plane.receipts(here.env.public_id, row.name), ())
    groups = found if sees_rows else [group.model_copy(update={"samples": ()}) for group in found]
    return _render(
        here, "quality", row, "dataset-quality", away=services.away, receipts=receipts, sees_rows=sees_rows,
        groups=sorted(groups, key=lambda group: (not group.open, -group.last_at.timestamp())),
        may_resolve=here.may("quarantine.resolve", row.grant_resource),
    )  # fmt: skip


@page(
    f"{_DETAIL}quality/<slug:verdict>/", name="dataset-verdict", permission="quarantine.resolve", section="datasets",
    methods=("POST",),
)  # fmt: skip
def resolve(request: HttpRequest, here: Place, name: str, verdict: str) -> HttpResponse:
    """Replay or discard a quarantine group."""
    row = _dataset(here, name)
    act = _VERDICTS.get(verdict)
    if act is None:
        raise Http404
    fingerprint = request.POST.get("fingerprint", "")[:128]

    def run(values: dict[str, Any]) -> str:
        resolution = act(
            actor=here.actor, dataset=row, environment=here.env, fingerprint=fingerprint, reason=values["reason"]
        )
        counts = ", ".join(f"{count:,} {word}" for word, count in resolution.counts.items() if count)
        return f"The group was {resolution.case.state}: {counts or 'no rows were left'}."

    return perform(request, run, back=here.url("dataset-quality", row.name))


@page(f"{_DETAIL}rows/", name="dataset-rows", permission="dataset.read", section="datasets")
def rows(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show the first rows as the reader's own policies let them be seen."""
    row = _dataset(here, name)
    return _render(here, "rows", row, "dataset-rows", answer=sample_rows(here, row.name))


def _render(here: Place, template: str, row: Dataset, tab: str, **context: Any) -> HttpResponse:
    return here.render(
        f"console/pages/datasets/{template}.html", title=row.name, lead=row.description, dataset=row,
        badge="archived" if row.archived_at else "", back=here.url("datasets"), back_title="Datasets",
        tabs=[(title, here.url(name, row.name), name == tab) for name, title in TABS], **context,
    )  # fmt: skip


def _dataset(here: Place, name: str) -> Dataset:
    row: Dataset | None = Dataset.objects.for_org(here.org).filter(project=here.project, name=name).first()
    if row is None:
        raise Http404
    here.need("dataset.read", row.grant_resource)
    return row


def _status(here: Place, row: Dataset) -> tuple[DatasetStatus | None, str]:
    with asking() as services:
        answered: Sequence[DatasetStatus] = services.ask(
            lambda plane: plane.datasets(here.env.public_id, [row.name]), ()
        )
    return next((status for status in answered if status.name == row.name), None), services.away


def _tallies(status: DatasetStatus | None) -> list[tuple[str, int | None, bool]]:
    """Return each disposition with its count, and whether it wants attention."""
    counts = status.counts if status else None
    bad = ("quarantined", "rejected")
    return [
        (name, counts.get(name, 0) if counts is not None else None, bool(counts and name in bad and counts.get(name)))
        for name in DISPOSITIONS
    ]


def _lines(here: Place, found: list[Any]) -> tuple[list[Line], str]:
    active = {
        item.dataset_id: item.contract.version
        for item in Activation.objects.for_org(here.org)
        .filter(environment=here.env, dataset__in=[row.pk for row in found])
        .select_related("contract")
        .defer("contract__spec", "contract__source")
    }
    with asking() as services:
        names = [row.name for row in found]
        answered: Sequence[DatasetStatus] = services.ask(lambda plane: plane.datasets(here.env.public_id, names), ())
    statuses = {status.name: status for status in answered}
    return [Line(row, active.get(row.pk, ""), statuses.get(row.name)) for row in found], services.away
