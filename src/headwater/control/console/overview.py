"""What the operations pages show, gathered from the control database and from the services.

The services are asked with a short time-out and only as long as they answer: the first silence ends the asking, and
the page says what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from headwater.control.catalog.data_plane import (
    DataPlane,
    DatasetStatus,
    LedgerMinute,
    NodeStatus,
    QuarantineGroup,
    Receipt,
    connect,
)
from headwater.control.catalog.models import Activation, Dataset
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

T = TypeVar("T")
RECENT_DATASETS: Final = 6
RECENT_RECEIPTS: Final = 12
MOST_ENVIRONMENTS: Final = 25
MINUTES: Final = 60
_REFUSED: Final = ("quarantined", "rejected")


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


@dataclass(slots=True)
class Hour:
    """What came in during the last hour, minute by minute, the oldest first."""

    received: list[int] = field(default_factory=lambda: [0] * MINUTES)
    refused: list[int] = field(default_factory=lambda: [0] * MINUTES)

    def add(self, services: Asking, environment_id: str, *, seen: Callable[[str], bool] = lambda _: True) -> None:
        """Add what an environment received, of the datasets whose names are ``seen``."""
        now = int(time.time()) // 60
        first = now - MINUTES + 1
        rows: Sequence[LedgerMinute] = services.ask(lambda plane: plane.ledger(environment_id, since_minute=first), ())
        for row in rows:
            if first <= row.minute <= now and seen(row.dataset):
                self.received[row.minute - first] += row.counts.get("received", 0)
                self.refused[row.minute - first] += sum(row.counts.get(name, 0) for name in _REFUSED)


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
    hour: Hour = field(default_factory=Hour)
    left_out: int = 0

    @property
    def last_at(self) -> datetime | None:
        """Return when a row last came in anywhere."""
        times = (line.status.last_received_at for line in self.datasets if line.status)
        return max((at for at in times if at is not None), default=None)

    @property
    def received_in_hour(self) -> int:
        """Return how many rows came in during the last hour."""
        return sum(self.hour.received)

    @property
    def refused_in_hour(self) -> int:
        """Return how many of them were quarantined or rejected."""
        return sum(self.hour.refused)

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
    """Return the overview of ``environments``, which the caller has chosen to be those the reader may see.

    The services are asked about the first ``MOST_ENVIRONMENTS`` alone, so that the page stays one page.
    """
    asked = environments[:MOST_ENVIRONMENTS]
    overview = Overview(left_out=len(environments) - len(asked))
    active = _active(asked)
    with asking() as services:
        overview.node = services.ask(lambda plane: plane.status(), None)
        for environment in asked:
            _gather_environment(overview, services, environment, active.get(environment.pk, []))
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


def _active(environments: Sequence[Environment]) -> Mapping[Any, list[Activation]]:
    """Return what each environment writes by, in one question."""
    found: dict[Any, list[Activation]] = {}
    rows = Activation.unscoped.filter(environment__in=[environment.pk for environment in environments])
    rows = rows.select_related("dataset", "contract").defer("contract__spec", "contract__source")
    for activation in rows.order_by("dataset__name"):
        found.setdefault(activation.environment_id, []).append(activation)
    return found


def _gather_environment(
    overview: Overview, services: Asking, environment: Environment, activations: Sequence[Activation]
) -> None:
    env = environment.public_id
    answered: Sequence[DatasetStatus] = services.ask(lambda plane: plane.datasets(env), ())
    statuses = {status.name: status for status in answered}
    datasets = {activation.dataset.name: activation.dataset for activation in activations}
    overview.datasets += [
        DatasetLine(item.dataset, environment, item.contract.version, statuses.get(item.dataset.name))
        for item in activations
        if item.dataset.archived_at is None
    ]
    groups: Sequence[QuarantineGroup] = services.ask(lambda plane: plane.quarantine_groups(env), ())
    overview.groups += [
        GroupLine(datasets[group.dataset], environment, group)
        for group in groups
        if group.open and group.dataset in datasets
    ]
    overview.hour.add(services, env)


def _receipts_of(line: DatasetLine) -> Callable[[DataPlane], Sequence[Receipt]]:
    return lambda plane: plane.receipts(line.environment.public_id, line.dataset.name, limit=RECENT_RECEIPTS)


def _last_received(line: DatasetLine) -> float:
    at = line.status.last_received_at if line.status else None
    return at.timestamp() if at else 0.0
