"""What the operations pages show, gathered from the control database and from the services.

The services are asked with a short time-out and only as long as they answer: the first silence ends the asking, and
the page says what is missing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
MOST_DATASETS: Final = 50
"""Shown as lines: the busiest. The figures count all of them."""
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

    @property
    def last_received(self) -> float:
        """Return when it last took a row, in seconds of the epoch; 0 if that is not known."""
        return _last_received(self.status)


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
    """Everything on the operations home but the audit log and snapshots.

    ``statuses`` are those of every dataset that takes rows, of which ``count`` are known to the catalogue; ``datasets``
    are the ones shown.
    """

    away: str = ""
    node: NodeStatus | None = None
    count: int = 0
    statuses: list[DatasetStatus] = field(default_factory=list)
    datasets: list[DatasetLine] = field(default_factory=list)
    receipts: list[ReceiptLine] = field(default_factory=list)
    groups: list[GroupLine] = field(default_factory=list)
    hour: Hour = field(default_factory=Hour)
    left_out: int = 0

    @property
    def last_at(self) -> datetime | None:
        """Return when a row last came in anywhere."""
        times = (status.last_received_at for status in self.statuses)
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
        return sum(status.counts.get("received", 0) for status in self.statuses)

    @property
    def backlog(self) -> int:
        """Return how many accepted rows wait in the journal."""
        return sum(status.unsealed_rows for status in self.statuses)

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
    names = _active_names(asked)
    with asking() as services:
        overview.node = services.ask(lambda plane: plane.status(), None)
        for environment in asked:
            _gather_environment(overview, services, environment, names.get(environment.pk, {}))
        overview.datasets.sort(key=lambda line: line.last_received, reverse=True)
        del overview.datasets[MOST_DATASETS:]
        for line in overview.datasets[:RECENT_DATASETS]:
            if line.last_received:
                found: Sequence[Receipt] = services.ask(_receipts_of(line), ())
                overview.receipts += [ReceiptLine(line.dataset, line.environment, receipt) for receipt in found]
        overview.away = services.away
    overview.receipts.sort(key=lambda line: line.receipt.received_at, reverse=True)
    del overview.receipts[RECENT_RECEIPTS:]
    overview.groups.sort(key=lambda line: line.group.last_at, reverse=True)
    return overview


def _active_names(environments: Sequence[Environment]) -> Mapping[Any, dict[str, uuid.UUID]]:
    """Return the activation of each dataset that an environment takes rows for, by name, in one question."""
    found: dict[Any, dict[str, uuid.UUID]] = {}
    rows = Activation.unscoped.filter(environment__in=[one.pk for one in environments], dataset__archived_at=None)
    for environment, name, key in rows.order_by("dataset__name").values_list("environment", "dataset__name", "pk"):
        found.setdefault(environment, {})[name] = key
    return found


def _gather_environment(
    overview: Overview, services: Asking, environment: Environment, names: Mapping[str, uuid.UUID]
) -> None:
    """Add what one environment has; the rows of its datasets are read for those that are shown alone."""
    env = environment.public_id
    answered: Sequence[DatasetStatus] = services.ask(lambda plane: plane.datasets(env), ())
    statuses = {status.name: status for status in answered if status.name in names}
    groups: Sequence[QuarantineGroup] = services.ask(lambda plane: plane.quarantine_groups(env), ())
    groups = [group for group in groups if group.open and group.dataset in names]
    busiest = sorted(names, key=lambda name: _last_received(statuses.get(name)), reverse=True)[:MOST_DATASETS]
    shown = _activations([names[name] for name in {*busiest, *(group.dataset for group in groups)}])
    lines = {
        row.dataset.name: DatasetLine(row.dataset, environment, row.contract.version, statuses.get(row.dataset.name))
        for row in shown
    }
    overview.count += len(names)
    overview.statuses += statuses.values()
    overview.datasets += [lines[name] for name in busiest if name in lines]
    overview.groups += [
        GroupLine(lines[group.dataset].dataset, environment, group) for group in groups if group.dataset in lines
    ]
    overview.hour.add(services, env)


def _activations(keys: Sequence[uuid.UUID]) -> Iterable[Activation]:
    rows = Activation.unscoped.filter(pk__in=keys).select_related("dataset", "contract")
    return rows.defer("contract__spec", "contract__source")


def _receipts_of(line: DatasetLine) -> Callable[[DataPlane], Sequence[Receipt]]:
    return lambda plane: plane.receipts(line.environment.public_id, line.dataset.name, limit=RECENT_RECEIPTS)


def _last_received(status: DatasetStatus | None) -> float:
    at = status.last_received_at if status else None
    return at.timestamp() if at else 0.0
