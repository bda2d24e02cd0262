"""What becomes of the rows of one request, before anything is written."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from headwater.contracts.model import Contract
from headwater.contracts.rows import CsvDialect, FieldError, Format, RowBatch, RowFault
from headwater.core.ids import new_id, parse_id
from headwater.engines.journal.protocol import Counts
from headwater.services.ingest.catalog import Dataset, Version
from headwater.services.ingest.idempotency import Keyed
from headwater.services.ingest.options import ErrorDetail, OnError

Disposition = Literal["quarantined", "rejected"]
_INDEX: Final = re.compile(r"/\d+(?=/|$)")
QUARANTINE_PREFIX: Final = "q"
_DIALECT: Final = CsvDialect()


class Origin(Struct, frozen=True):
    """Where rows came from: everything about a request that outlives it."""

    request_id: str
    receipt_id: str
    principal_id: str
    received_at_us: int
    config_version: int
    form: Format
    source: Literal["api", "replay"] = "api"
    dialect: CsvDialect = _DIALECT
    csv_header: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that was not accepted; one that is kept has a ``quarantine_id``, ``q_…``."""

    fault: RowFault
    quarantine_id: str | None = None

    @property
    def disposition(self) -> Disposition:
        """Return ``quarantined`` if the row is kept, else ``rejected``."""
        return "rejected" if self.quarantine_id is None else "quarantined"


@dataclass(frozen=True, slots=True)
class Earlier:
    """The quarantined row that a replayed row was. ``attempt`` counts from 1."""

    quarantine_id: str
    attempt: int
    line: int | None
    byte_offset: int
    raw: bytes
    key: str | None

    @property
    def key_bytes(self) -> bytes:
        """Return the 16 bytes that the row's state is kept under."""
        return parse_id(QUARANTINE_PREFIX, self.quarantine_id).bytes

    def fault(self, row: int, error: FieldError) -> RowFault:
        """Return the fault of this row, which is number ``row`` of its replay."""
        return RowFault(row, self.line, self.byte_offset, self.raw, (error,), self.key)


class Submission(Struct, eq=False):
    """The rows of one request, read and waiting for their verdict.

    Attributes:
        earlier: for a replay, what each row was; empty otherwise.
        done: resolves with the verdict once it is durable.
    """

    dataset: Dataset
    version: Version
    origin: Origin
    on_error: OnError
    received: int
    errors: ErrorDetail = "first100"
    keyed: Keyed | None = None
    batch: RowBatch | None = None
    earlier: Sequence[Earlier] = ()
    done: asyncio.Future[Verdict] | None = None

    def fault(self, row: int, error: FieldError) -> RowFault:
        """Return the fault of a row that the contract accepted but that cannot be accepted all the same."""
        if self.batch is None:
            return self.earlier[row].fault(row, error)
        return self.version.validator.refuse(self.batch, row, (error,))


@dataclass(frozen=True, slots=True)
class Tally:
    """Errors by (code, general path), and rows by (disposition, first code)."""

    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)


class Verdict(Struct):
    """What became of a request.

    ``body`` is set when the answer is stored for an Idempotency-Key, ``tally`` once the errors were counted.
    """

    submission: Submission
    counts: Counts
    refusals: Sequence[Refusal] = ()
    first_seq: int | None = None
    last_seq: int | None = None
    batch_rejected: bool = False
    body: bytes | None = None
    tally: Tally | None = None

    @property
    def status(self) -> int:
        """Return 200 when nothing was refused, 207 when something was, 422 when everything was."""
        counts = self.counts
        if not counts.quarantined and not counts.rejected:
            return 200
        return 207 if counts.accepted or counts.duplicate or counts.stale else 422


def refuse(fault: RowFault, contract: Contract, on_error: OnError) -> Refusal:
    """Return what is done with a refused row: kept, unless request or contract say that it is not."""
    if on_error != "quarantine" or _is_dropped(fault, contract):
        return Refusal(fault)
    return Refusal(fault, new_id(QUARANTINE_PREFIX))


def _is_dropped(fault: RowFault, contract: Contract) -> bool:
    """Return whether the contract rejects rows as late or as early as this one."""
    lateness = contract.lateness
    codes = {error.code for error in fault.errors}
    return (lateness.late_action == "reject" and "too_late" in codes) or (
        lateness.future_action == "reject" and "in_future" in codes
    )


def tally(refusals: Sequence[Refusal]) -> Tally:
    """Count the refused rows of a request and all that is wrong with them."""
    return Tally(
        Counter((error.code, general_path(error.path)) for refusal in refusals for error in refusal.fault.errors),
        Counter((refusal.disposition, refusal.fault.errors[0].code) for refusal in refusals),
    )


def general_path(path: str) -> str:
    """Return a JSON Pointer with array indexes as ``*``, so that errors of one kind are counted together."""
    return _INDEX.sub("/*", path) if "/" in path[1:] else path
