"""What the calls return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of rows; ``received`` is the sum of the others."""

    received: int = 0
    accepted: int = 0
    duplicate: int = 0
    stale: int = 0
    quarantined: int = 0
    rejected: int = 0

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Counts:
        """Read counts, ignoring members that this version does not know."""
        return cls(**{one.name: int(body.get(one.name, 0)) for one in fields(cls)})

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def refused(self) -> int:
        """Return the rows that are not in the dataset: quarantined and rejected ones."""
        return self.quarantined + self.rejected

    @property
    def balanced(self) -> bool:
        """Return whether every received row has exactly one fate."""
        return self.received == self.accepted + self.duplicate + self.stale + self.quarantined + self.rejected


@dataclass(frozen=True, slots=True)
class IngestReply:
    """The answer to one ingest request.

    Attributes:
        receipt: what to ask ``receipt`` for later.
        counts: what became of the rows.
        errors: bad rows with their errors; ``row`` is the index in the whole input.
        error_summary: how often each code occurred on each path; complete even when ``errors`` is not.
        replayed: the server knew the request and stored nothing again.
        status: the HTTP status: 200, 207 (some rows are bad) or 422 (all are).
    """

    receipt: str
    counts: Counts
    errors: tuple[Mapping[str, Any], ...] = ()
    error_summary: tuple[Mapping[str, Any], ...] = ()
    replayed: bool = False
    status: int = 200


@dataclass(slots=True)
class IngestSummary:
    """The answers to all requests that one ``ingest`` took."""

    counts: Counts = field(default_factory=Counts)
    receipts: list[str] = field(default_factory=list)
    errors: list[Mapping[str, Any]] = field(default_factory=list)
    error_summary: dict[tuple[str, str], int] = field(default_factory=dict)
    replayed_rows: int = 0

    #: Bad rows kept for showing; ``error_summary`` counts all of them.
    MAX_ERRORS = 100

    def add(self, reply: IngestReply) -> None:
        """Count one more answer."""
        self.counts += reply.counts
        self.receipts.append(reply.receipt)
        self.errors.extend(reply.errors[: self.MAX_ERRORS - len(self.errors)])
        if reply.replayed:
            self.replayed_rows += reply.counts.received
        for entry in reply.error_summary:
            place = (str(entry.get("code")), str(entry.get("path")))
            self.error_summary[place] = self.error_summary.get(place, 0) + int(entry.get("count", 0))


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows of an endpoint, with what the server says about them (columns, table versions, truncation)."""

    rows: list[dict[str, Any]]
    meta: Mapping[str, Any]
    etag: str | None = None

    @property
    def cursor(self) -> str | None:
        """Return the cursor to the next page; None when there is none, and for a result that is no page."""
        return self.meta.get("next")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row's prediction; ``id`` is what its outcome can be reported for."""

    id: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PredictReply:
    """Predictions in the order of the rows, and which version of the model made them.

    Attributes:
        route: ``champion``, ``canary``, ``fallback`` or ``override``.
        routing: how the version was chosen, where that was asked for.
        overrides: outputs in whose place a person's word was served.
    """

    model: str
    version: int
    predictions: tuple[Prediction, ...]
    route: str | None = None
    warnings: tuple[str, ...] = ()
    routing: Mapping[str, Any] | None = None
    overrides: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class OutcomeReply:
    """The answer to reports of what became of predictions; ``errors`` are those that were refused."""

    receipt: str
    counts: Counts
    errors: tuple[Mapping[str, Any], ...] = ()
