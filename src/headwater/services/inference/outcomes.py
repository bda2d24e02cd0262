"""What became of predictions: read by a contract, durable before the answer, the same report twice counted once.

A correction is a report with other content; the newest wins. Which predictions there were is not asked here: a log may
be sampled, and a report may come before the log is sealed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from headwater.contracts.model import Constraints, Contract, Field, LogicalType
from headwater.contracts.rows import FieldError, Format, ReadLimits
from headwater.contracts.validate import compile_contract
from headwater.core.errors import ROW_CODES
from headwater.core.streams import OUTCOMES
from headwater.engines.journal.protocol import Block, Counts, JournalTransaction, Receipt, Span
from headwater.engines.models.log_schema import OUTCOME_SCHEMA

MAX_ROWS: Final = 10_000
MAX_CORRECTIONS: Final = 100
CONTRACT: Final = Contract(
    OUTCOMES,
    "1.0.0",
    (
        Field("prediction_id", LogicalType.STRING, constraints=Constraints(pattern="prd_[0-7][0-9A-HJKMNP-TV-Z]{25}")),
        Field("outcome", LogicalType.JSON),
        Field("observed_at", LogicalType.TIMESTAMP, required=False, nullable=True),
    ),
    description="What became of predictions",
    on_unknown="quarantine",
    on_error="reject_row",
)
_EXACT: Final = 2**53
_MAX_TEXT: Final = 1_024
_VALIDATOR: Final = compile_contract(CONTRACT)
_LIMITS: Final = ReadLimits(max_rows=MAX_ROWS, max_row_bytes=64 << 10)


class Outcome(NamedTuple):
    """One value of one prediction; ``row`` is where it was reported."""

    row: int
    prediction_id: str
    output: str | None
    number: float | None
    text: str | None
    observed_at_us: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """A body as it was read: the outcomes of good rows, and what is wrong with the others by row."""

    received: int
    outcomes: Sequence[Outcome]
    faults: dict[int, Sequence[FieldError]]


def read_report(body: bytes, form: Format) -> Report:
    """Return what a body reports; for a thread.

    Raises:
        HeadwaterError: ``empty_body``, ``malformed_body``, ``too_many_rows``.
    """
    batch = _VALIDATOR.read(body, form, limits=_LIMITS)
    columns = _VALIDATOR.columnise([batch], [0])
    faults: dict[int, Sequence[FieldError]] = {fault.row: fault.errors for fault in columns.faults[0]}
    outcomes: list[Outcome] = []
    table = columns.batch
    values = zip(
        columns.positions[0],
        table.column("prediction_id").to_pylist(),
        table.column("outcome").to_pylist(),
        table.column("observed_at").cast(pa.int64()).to_pylist(),
        strict=True,
    )
    for row, prediction_id, text, observed_at_us in values:
        found, errors = _values(orjson.loads(text))
        if errors:
            faults[row] = errors
        else:
            outcomes.extend(Outcome(row, prediction_id, *value, observed_at_us) for value in found)
    return Report(batch.received, outcomes, faults)


@dataclass(slots=True)
class OutcomeCommit:
    """A ``Commit``: outcomes that are new, with the receipt of the whole report.

    After it, ``duplicates`` says how many were known already, and ``conflicts`` which had too many corrections.
    """

    stream: str
    report: Report
    receipt_id: str
    principal_id: str
    reported_at_us: int
    config_version: int
    duplicates: int = 0
    accepted: int = 0
    conflicts: list[Outcome] = field(default_factory=list)

    def apply(self, transaction: JournalTransaction) -> None:
        """Write what is new, and the receipt."""
        fresh = self._choose(transaction)
        first = last = None
        if fresh:
            first = transaction.append(self._block(fresh))
            last = first + len(fresh) - 1
        self.accepted = len(fresh)
        transaction.put_receipts([self._receipt(first, last)])

    @property
    def counts(self) -> Counts:
        """Return what became of every outcome; a row that could not be read counts as one."""
        rejected = len(self.report.faults) + len(self.conflicts)
        received = len(self.report.outcomes) + len(self.report.faults)
        return Counts(received, accepted=self.accepted, duplicate=self.duplicates, rejected=rejected)

    def _choose(self, transaction: JournalTransaction) -> list[Outcome]:
        """Return the outcomes that differ from the newest one known of the same thing, in order.

        Each accepted one leaves a key, numbered from 0 for each thing: the digest behind the last key is the newest.
        """
        names = dict.fromkeys((outcome.prediction_id, outcome.output) for outcome in self.report.outcomes)
        known = _newest(lambda keys: transaction.find_keys(self.stream, keys), list(names))
        self.duplicates, self.conflicts = 0, []
        fresh: list[Outcome] = []
        entries: dict[bytes, bytes] = {}
        for outcome in self.report.outcomes:
            name = outcome.prediction_id, outcome.output
            corrections, newest = known[name]
            digest = _digest(outcome)
            if digest == newest:
                self.duplicates += 1
            elif corrections >= MAX_CORRECTIONS:
                self.conflicts.append(outcome)
            else:
                entries[_key(name, corrections)] = digest
                known[name] = corrections + 1, digest
                fresh.append(outcome)
        if entries:
            transaction.put_keys(self.stream, entries, self.reported_at_us)
        return fresh

    def _block(self, outcomes: Sequence[Outcome]) -> Block:
        count = len(outcomes)
        observed = pa.array([outcome.observed_at_us for outcome in outcomes], pa.int64())
        reported = pa.repeat(pa.scalar(self.reported_at_us, pa.int64()), count)
        columns = [
            pa.array([outcome.prediction_id for outcome in outcomes], pa.string()),
            pa.array([outcome.output for outcome in outcomes], pa.string()),
            pa.array([outcome.number for outcome in outcomes], pa.float64()),
            pa.array([outcome.text for outcome in outcomes], pa.string()),
            observed.cast(pa.timestamp("us", "UTC")),
            reported.cast(pa.timestamp("us", "UTC")),
            pa.repeat(pa.scalar(self.principal_id, pa.string()), count),
        ]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, OUTCOME_SCHEMA) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=OUTCOME_SCHEMA))
        span = Span(self.receipt_id, count, self.reported_at_us, CONTRACT.version)
        return Block(self.stream, sink.getvalue().to_pybytes(), count, (span,))

    def _receipt(self, first: int | None, last: int | None) -> Receipt:
        return Receipt(
            id=self.receipt_id,
            stream=self.stream,
            principal_id=self.principal_id,
            received_at_us=self.reported_at_us,
            config_version=self.config_version,
            counts=self.counts,
            first_seq=first,
            last_seq=last,
        )


_Name = tuple[str, str | None]
_Value = tuple[str | None, float | None, str | None]


def _newest(find: Callable[[Sequence[bytes]], Any], names: Sequence[_Name]) -> dict[_Name, tuple[int, bytes | None]]:
    """Return for each thing how many reports of it were accepted, and the digest of the newest."""
    known: dict[_Name, tuple[int, bytes | None]] = dict.fromkeys(names, (0, None))
    asked = list(names)
    for number in range(MAX_CORRECTIONS):
        if not asked:
            break
        keys = {_key(name, number): name for name in asked}
        found = find(list(keys))
        asked = [name for key, name in keys.items() if key in found]
        known |= {keys[key]: (number + 1, digest) for key, digest in found.items()}
    return known


def _values(outcome: Any) -> tuple[list[_Value], list[FieldError]]:
    """Return output, number and text of each value of an outcome, or what is wrong with it."""
    if not isinstance(outcome, dict):
        value, error = _value(outcome, "/outcome")
        return ([], [error]) if error else ([(None, *value)], [])
    if not outcome:
        return [], [FieldError("missing_field", "/outcome", "names no output", "at least one output")]
    found: list[_Value] = []
    errors: list[FieldError] = []
    for name, item in outcome.items():
        value, error = _value(item, "/outcome/" + name.replace("~", "~0").replace("/", "~1"))
        if error:
            errors.append(error)
        else:
            found.append((name, *value))
    return found, errors[:20]


def _value(value: Any, path: str) -> tuple[tuple[float | None, str | None], FieldError | None]:
    error = _fault(value, path)
    if error is not None:
        return (None, None), error
    if isinstance(value, bool):
        return (float(value), "true" if value else "false"), None
    return ((None, value) if isinstance(value, str) else (float(value), None)), None


def _fault(value: Any, path: str) -> FieldError | None:
    """Return why a value cannot be an outcome, None when it can."""
    if value is None:
        return FieldError("null_not_allowed", path, "must not be null", "number, boolean or string", "null")
    if isinstance(value, str):
        too_long = len(value) > _MAX_TEXT
        return (
            FieldError("too_long", path, f"must have at most {_MAX_TEXT} characters", _MAX_TEXT) if too_long else None
        )
    if isinstance(value, int) and abs(value) > _EXACT and int(float(value)) != value:
        return FieldError("precision_loss", path, ROW_CODES["precision_loss"], "a double", str(value)[:64])
    if isinstance(value, int | float):
        return None
    return FieldError("type_mismatch", path, "must be a number, a boolean or a string", "a scalar")


def _key(name: _Name, number: int) -> bytes:
    prediction_id, output = name
    named = "" if output is None else f"={output}"
    return hashlib.blake2b(f"{number} {prediction_id}{named}".encode(), digest_size=16).digest()


def _digest(outcome: Outcome) -> bytes:
    number = None if outcome.number is None or math.isnan(outcome.number) else outcome.number
    content = orjson.dumps([number, outcome.text, outcome.observed_at_us])
    return hashlib.blake2b(content, digest_size=16).digest()
