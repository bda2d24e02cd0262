"""Verdicts on refused rows: send them through the current contract again, or let them go.

A replayed row keeps its identity: its own key where the contract has one, else its quarantine id. Both are looked up
and remembered in the transaction that accepts the row, so replaying twice, even at once, accepts it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
import pyarrow as pa

from headwater.contracts.rows import Columns, CsvDialect, FieldError, Format, RowBatch, RowFault
from headwater.core.clock import epoch_micros
from headwater.core.errors import ROW_CODES, HeadwaterError
from headwater.core.ids import new_id, parse_id
from headwater.core.logging import get_logger
from headwater.engines.journal.protocol import JournalTransaction
from headwater.services.ingest.catalog import Dataset
from headwater.services.ingest.correction import corrected
from headwater.services.ingest.dedup import DISCARDED
from headwater.services.ingest.kept import Filter, KeptRows
from headwater.services.ingest.reply import counts_of
from headwater.services.ingest.segment import Segment
from headwater.services.ingest.verdict import QUARANTINE_PREFIX, Earlier, Origin, Submission
from headwater.services.kit.service import Runtime

BATCH_ROWS: Final = 1_000
_log = get_logger(__name__)
_LINE_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked for a verdict, and under which configuration."""

    principal_id: str
    request_id: str
    config_version: int


@dataclass(slots=True)
class Resolution:
    """What became of the rows, over all batches."""

    counts: Counter[str] = field(default_factory=Counter)
    receipts: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as replies show it; every count that applies is there, if only as 0."""
        names = ("received", "accepted", "duplicate", "stale", "quarantined", "rejected", "discarded", "skipped")
        return {**{name: self.counts[name] for name in names}, "receipts": self.receipts}


class Resolver:
    """Gives verdicts on the refused rows of one dataset. Blocks: belongs in a thread."""

    def __init__(self, runtime: Runtime, dataset: Dataset) -> None:
        """Work on ``dataset``."""
        self._runtime = runtime
        self._dataset = dataset
        self._kept = KeptRows(runtime.journal, runtime.lake, dataset.quarantine_stream)

    def require_group(self, fingerprint: str) -> None:
        """Raise ``not_found`` when no refused row of the dataset, open or settled, has this fingerprint."""
        if not self._kept.page(Filter(self._dataset.spec.id, fingerprint), limit=1, newest_first=True).rows:
            raise HeadwaterError(
                "not_found",
                f"no refused row of {self._dataset.name} has the fingerprint {fingerprint}",
                hint=f"GET /v1/datasets/{self._dataset.name}/quarantine/groups lists the groups",
            )

    def replay(self, requester: Requester, *, fingerprint: str | None, ids: Sequence[str] | None = None) -> Resolution:
        """Send the open rows of a group, those named, or all of the dataset through the active contract version.

        Returns:
            The counts. ``skipped`` rows were not kept whole and cannot be replayed; they stay open.
        """
        resolution = Resolution()
        for rows in self._open_rows(fingerprint, ids):
            whole = [row for row in rows if _is_whole(row)]
            resolution.counts["skipped"] += len(rows) - len(whole)
            # Rows that fail again are kept with the dialect of their batch: it must be the one they came with.
            for form, dialect in dict.fromkeys((row["format"], row["dialect"]) for row in whole):
                alike = [row for row in whole if (row["format"], row["dialect"]) == (form, dialect)]
                self._replay_batch(alike, Format(form), requester, resolution)
        return resolution

    def correct(
        self, requester: Requester, quarantine_id: str, changes: Mapping[str, Any], removed: Sequence[str]
    ) -> Resolution:
        """Send one row through the active contract version with some of its fields changed; its identity stays.

        What is still wrong with it is kept as a new refused row that says which one it was. A row that had its verdict
        is left as it is and counts as a duplicate.

        Raises:
            HeadwaterError: ``not_found``, or ``invalid_parameter`` for a row that was not kept whole.
        """
        rows = self._kept.page(Filter(self._dataset.spec.id, ids=(quarantine_id,)), limit=1, newest_first=True).rows
        if not rows:
            raise HeadwaterError(
                "not_found", f"no refused row of {self._dataset.name} is called {quarantine_id[:64]!r}"
            )
        row = corrected(rows[0], changes, removed)
        resolution = Resolution()
        self._replay_batch([row], Format(row["format"]), requester, resolution)
        return resolution

    def discard(self, requester: Requester, *, fingerprint: str | None, ids: Sequence[str] | None = None) -> Resolution:
        """Close the open rows of a group, those named, or all of the dataset; they stay in the table as evidence."""
        resolution = Resolution()
        at_us = epoch_micros(self._runtime.clock.now())
        for rows in self._open_rows(fingerprint, ids):
            keys = [parse_id(QUARANTINE_PREFIX, row["quarantine_id"]).bytes for row in rows]
            discard = _Discard(self._dataset.quarantine_stream, keys, at_us)
            self._runtime.committer.submit(discard).result()
            resolution.counts["received"] += len(rows)
            resolution.counts["discarded"] += discard.discarded
            resolution.counts["duplicate"] += len(rows) - discard.discarded
        _log.info(
            "quarantine_discarded",
            dataset=self._dataset.stream,
            fingerprint=fingerprint,
            rows=resolution.counts["discarded"],
            principal=requester.principal_id,
            request_id=requester.request_id,
        )
        return resolution

    def _open_rows(self, fingerprint: str | None, ids: Sequence[str] | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of open rows; those refused while this runs are left for another time."""
        named = None if ids is None else tuple(ids)
        where = Filter(self._dataset.spec.id, fingerprint, before=new_id(QUARANTINE_PREFIX), ids=named)
        is_last = False
        while not is_last:
            page = self._kept.page(where, limit=BATCH_ROWS, newest_first=False)
            rows, is_last = page.rows, page.is_last
            settled = self._kept.settled(row["quarantine_id"] for row in rows)
            if open_rows := [row for row in rows if row["quarantine_id"] not in settled]:
                yield open_rows
            if rows:
                where = replace(where, after=rows[-1]["quarantine_id"])

    def _replay_batch(
        self, rows: Sequence[Mapping[str, Any]], form: Format, requester: Requester, resolution: Resolution
    ) -> None:
        version = self._dataset.active
        received_at_us = epoch_micros(self._runtime.clock.now())
        first = rows[0]
        dialect, header = _dialect_of(first)
        submission = Submission(
            dataset=self._dataset,
            version=version,
            origin=Origin(
                request_id=requester.request_id,
                receipt_id=new_id("rcp"),
                principal_id=requester.principal_id,
                received_at_us=received_at_us,
                config_version=requester.config_version,
                form=form,
                source="replay",
                dialect=dialect,
                csv_header=header,
            ),
            on_error="quarantine",
            received=len(rows),
            earlier=[_earlier(row) for row in rows],
        )
        segment = Segment([submission], self._read(rows, submission, received_at_us))
        self._runtime.committer.submit(segment).result()
        resolution.counts.update(counts_of(segment.verdicts[0].counts))
        resolution.receipts.append(submission.origin.receipt_id)

    def _read(self, rows: Sequence[Mapping[str, Any]], submission: Submission, received_at_us: int) -> Columns:
        """Return the rows as columns of one submission, each read by itself so that none can spoil another."""
        validator = submission.version.validator
        numbers: list[int] = []
        batches: list[RowBatch] = []
        faults: dict[int, RowFault] = {}
        for number, row in enumerate(rows):
            try:
                batches.append(self._read_row(row, validator.read))
                numbers.append(number)
            except HeadwaterError as error:
                faults[number] = _unreadable(number, row, error)
        if not batches:
            return Columns(
                pa.RecordBatch.from_pylist([], schema=validator.schema),
                ((),),
                ([faults[number] for number in sorted(faults)],),
            )
        columns = validator.columnise(batches, [received_at_us] * len(batches))
        accepted: list[int] = []
        for number, positions, refused in zip(numbers, columns.positions, columns.faults, strict=True):
            if len(positions):
                accepted.append(number)
            else:
                row = rows[number]
                faults[number] = replace(
                    refused[0], row=number, line=row["line"], byte_offset=row["byte_offset"], raw=row["raw"]
                )
        return Columns(columns.batch, (accepted,), ([faults[number] for number in sorted(faults)],))

    def _read_row(self, row: Mapping[str, Any], read: Any) -> RowBatch:
        raw: bytes = row["raw"]
        if row["format"] == Format.CSV:
            dialect, header = _dialect_of(row)
            line = (header or "").encode() + b"\n" + raw
            batch: RowBatch = read(line, Format.CSV, dialect=dialect)
        elif row["format"] == Format.JSON:
            # Its parser let no line break inside a value pass, so a pretty-printed row becomes one line unchanged.
            batch = read(raw.translate(_LINE_BREAKS), Format.NDJSON)
        else:
            batch = read(raw, Format.NDJSON)
        if batch.received != 1:
            raise HeadwaterError("malformed_body", f"it holds {batch.received} rows")
        return batch


@dataclass(slots=True)
class _Discard:
    """A ``Commit`` that closes quarantined rows, less those closed before."""

    stream: str
    ids: Sequence[bytes]
    at_us: int
    discarded: int = 0

    def apply(self, transaction: JournalTransaction) -> None:
        known = transaction.find_keys(self.stream, self.ids)
        fresh = {quarantine_id: DISCARDED for quarantine_id in self.ids if quarantine_id not in known}
        if fresh:
            transaction.put_keys(self.stream, fresh, self.at_us)
        self.discarded = len(fresh)


def _earlier(row: Mapping[str, Any]) -> Earlier:
    return Earlier(
        quarantine_id=row["quarantine_id"],
        attempt=row["attempt"],
        line=row["line"],
        byte_offset=row["byte_offset"],
        raw=row["raw"],
        key=row["row_key"],
    )


def _is_whole(row: Mapping[str, Any]) -> bool:
    """Return whether enough of a row was kept to read it again."""
    is_readable = row["format"] != Format.CSV or row["dialect"] is not None
    return row["raw"] is not None and not row["raw_truncated"] and is_readable


def _dialect_of(row: Mapping[str, Any]) -> tuple[CsvDialect, str | None]:
    if row["dialect"] is None:
        return CsvDialect(), None
    stored = orjson.loads(row["dialect"])
    return CsvDialect(stored["delimiter"], stored["quote"], stored["null"], header=True), stored["header"]


def _unreadable(number: int, row: Mapping[str, Any], error: HeadwaterError) -> RowFault:
    code = "malformed_json" if row["format"] != Format.CSV else "bad_column_count"
    found = FieldError(code=code, path="", message=f"{ROW_CODES[code]}: {error.detail}")
    return RowFault(number, row["line"], row["byte_offset"], row["raw"], (found,), row["row_key"])
