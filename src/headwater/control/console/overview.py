"""What the operations pages show, gathered from the control database and from the services.

The services are asked with a short time-out and only as long as they answer: the first silence ends the asking, and
the page says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from headwater.control.catalog.data_plane import (
    DataPlane,
    DatasetStatus,
    NodeStatus,
    QuarantineGroup,
    Receipt,
    connect,
)
from headwater.control.catalog.models import Activation, Dataset
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

T = TypeVar("T")
RECENT_DATASETS = 6
RECENT_RECEIPTS = 12


@dataclass(slots=True)
class Asking:
    """A conversation with the services that ends at the first silence."""

    plane: DataPlane | None
    away: str = ""

    def ask(self, question: Callable[[DataPlane], T], otherwise: T) -> T:
        """Return the answer, or ``otherwise`` once the services are away."""
        if self.plane is None or self.away:
            return otherwise
        try:
            return question(self.plane)
        except HeadwaterError as error:
            if error.code == "services_unavailable":
                self.away = error.detail
            return otherwise


@contextmanager
def asking() -> Iterator[Asking]:
    """Open a conversation with the services."""
    try:
        plane = connect()
    except HeadwaterError as error:
        yield Asking(None, error.detail)
        return
    with plane:
        yield Asking(plane)


@dataclass(frozen=True, slots=True)
class DatasetLine:
    """A dataset in one environment: what the catalogue says and, if they answer, what the services count."""

    dataset: Dataset
    environment: Environment
    version: str
    status: DatasetStatus | None


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """A receipt and where it came in."""

    dataset: Dataset
    environment: Environment
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A quarantine group and where it lies."""

    dataset: Dataset
    environment: Environment
    group: QuarantineGroup


@dataclass(slots=True)
class Overview:
    """Everything on the operations home but the audit log and snapshots."""

    away: str = ""
    node: NodeStatus | None = None
    datasets: list[DatasetLine] = field(default_factory=list)
    receipts: list[ReceiptLine] = field(default_factory=list)
    groups: list[GroupLine] = field(default_factory=list)

    @property
    def received(self) -> int:
        """Return how many rows came in, ever."""
        return sum(line.status.counts.get("received", 0) for line in self.datasets if line.status)

    @property
    def backlog(self) -> int:
        """Return how many accepted rows wait in the journal."""
        return sum(line.status.unsealed_rows for line in self.datasets if line.status)

    @property
    def quarantined(self) -> int:
        """Return how many quarantined rows wait for a verdict."""
        return sum(line.group.open for line in self.groups)


def gather(environments: Sequence[Environment]) -> Overview:
    """Return the overview of ``environments``, which the caller has chosen to be those the reader may see."""
    overview = Overview()
    with asking() as services:
        overview.node = services.ask(lambda plane: plane.status(), None)
        for environment in environments:
            _gather_environment(overview, services, environment)
        busy = sorted(overview.datasets, key=_last_received, reverse=True)[:RECENT_DATASETS]
        for line in busy:
            if line.status is not None and line.status.last_received_at is not None:
                found: Sequence[Receipt] = services.ask(_receipts_of(line), ())
                overview.receipts += [ReceiptLine(line.dataset, line.environment, receipt) for receipt in found]
        overview.away = services.away
    overview.receipts.sort(key=lambda line: line.receipt.received_at, reverse=True)
    del overview.receipts[RECENT_RECEIPTS:]
    overview.groups.sort(key=lambda line: line.group.last_at, reverse=True)
    return overview


def _gather_environment(overview: Overview, services: Asking, environment: Environment) -> None:
    answered: Sequence[DatasetStatus] = services.ask(lambda plane: plane.datasets(environment.public_id), ())
    statuses = {status.name: status for status in answered}
    activations = (
        Activation.objects.for_org(environment.org_id)
        .filter(environment=environment)
        .select_related("dataset", "contract")
        .order_by("dataset__name")
    )
    datasets: dict[str, Dataset] = {}
    for activation in activations:
        dataset = activation.dataset
        datasets[dataset.name] = dataset
        if dataset.archived_at is not None:
            continue
        status = statuses.get(dataset.name)
        overview.datasets.append(DatasetLine(dataset, environment, activation.contract.version, status))
    groups: Sequence[QuarantineGroup] = services.ask(lambda plane: plane.quarantine_groups(environment.public_id), ())
    overview.groups += [
        GroupLine(datasets[group.dataset], environment, group)
        for group in groups
        if group.open and group.dataset in datasets
    ]


def _receipts_of(line: DatasetLine) -> Callable[[DataPlane], Sequence[Receipt]]:
    return lambda plane: plane.receipts(line.environment.public_id, line.dataset.name, limit=RECENT_RECEIPTS)


def _last_received(line: DatasetLine) -> float:
    at = line.status.last_received_at if line.status else None
    return at.timestamp() if at else 0.0
