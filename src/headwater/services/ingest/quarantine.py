"""Refused rows as they are kept: one fixed Arrow schema for the rows of every dataset of an environment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import orjson
import pyarrow as pa

from headwater.contracts.rows import FieldError, Format, RowFault
from headwater.engines.journal.protocol import Block, Span
from headwater.services.ingest.encoding import encode_batch
from headwater.services.ingest.reply import to_json
from headwater.services.ingest.verdict import Earlier, Refusal, Submission, general_path

MAX_RAW_BYTES: Final = 1 << 20
MAX_DIALECT_BYTES: Final = 16 << 20  # of one submission: a long CSV header is kept with each of its refused rows
ERROR_TYPE: Final = pa.struct(
    [
        ("code", pa.string()),
        ("path", pa.string()),
        ("message", pa.string()),
        ("expected", pa.string()),
        ("actual", pa.string()),
        ("rule", pa.string()),
        ("severity", pa.string()),
    ]
)
SCHEMA: Final = pa.schema(
    [
        ("quarantine_id", pa.string()),
        ("dataset_id", pa.string()),
        ("contract_version", pa.string()),
        ("config_version", pa.int64()),
        ("receipt_id", pa.string()),
        ("request_id", pa.string()),
        ("principal_id", pa.string()),
        ("source", pa.string()),
        ("channel", pa.string()),
        ("offset", pa.int64()),
        ("format", pa.string()),
        # How the row's line is to be read again: a JSON object with the delimiter, the quote, the null and the header.
        ("dialect", pa.string()),
        ("row_index", pa.int64()),
        ("line", pa.int64()),
        ("byte_offset", pa.int64()),
        ("received_at", pa.timestamp("us", "UTC")),
        ("event_time", pa.timestamp("us", "UTC")),
        ("row_key", pa.string()),
        ("raw", pa.binary()),
        ("raw_encoding", pa.string()),
        ("raw_truncated", pa.bool_()),
        ("raw_sha256", pa.string()),
        ("errors", pa.list_(ERROR_TYPE)),
        ("first_code", pa.string()),
        ("first_path", pa.string()),
        ("fingerprint", pa.string()),
        ("attempt", pa.int64()),
        ("replay_of", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Share:
    """The refused rows of one submission that are kept, in order."""

    submission: Submission
    refusals: Sequence[Refusal]


def quarantine_block(shares: Sequence[Share]) -> Block:
    """Return the block that keeps these rows; there must be at least one."""
    batches = [_batch(share) for share in shares]
    batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    spans = tuple(
        Span(
            share.submission.origin.receipt_id,
            len(share.refusals),
            share.submission.origin.received_at_us,
            share.submission.version.number,
        )
        for share in shares
    )
    return Block(shares[0].submission.dataset.quarantine_stream, encode_batch(batch), batch.num_rows, spans)


@lru_cache(maxsize=4096)
def fingerprint_of(dataset_id: str, contract_version: str, kinds: frozenset[tuple[str, str]]) -> str:
    """Return what refused rows of one kind have in common: dataset, major version, and the set of (code, path)."""
    major = contract_version.partition(".")[0]
    return hashlib.blake2b(to_json([dataset_id, major, sorted(kinds)]), digest_size=8).hexdigest()


def kinds_of(errors: Iterable[FieldError]) -> frozenset[tuple[str, str]]:
    """Return what was wrong, whichever item of an array it was wrong with."""
    return frozenset((error.code, general_path(error.path)) for error in errors)


def _batch(share: Share) -> pa.RecordBatch:
    """Return the refused rows of one submission, column by column: a bad batch must not be slow to keep."""
    faults = [refusal.fault for refusal in share.refusals]
    shared = _shared(share.submission)
    own = {
        "quarantine_id": [refusal.quarantine_id for refusal in share.refusals],
        **_places(faults),
        **_raws(faults, keep=share.submission.version.contract.store_raw),
        **_reasons(faults, share.submission),
        **_history(faults, share.submission.earlier),
        "dialect": _dialects(share.submission, len(faults)),
        "event_time": [_event_time(fault, share.submission) for fault in faults],
    }
    arrays: list[pa.Array] = []
    for column in SCHEMA:
        if column.name == "errors":
            arrays.append(_errors(faults))
        elif column.name in own:
            arrays.append(pa.array(own[column.name], column.type))
        else:
            arrays.append(pa.repeat(pa.scalar(shared.get(column.name), column.type), len(faults)))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _shared(submission: Submission) -> dict[str, Any]:
    """Return what all rows of a submission have in common; columns named nowhere are null."""
    origin = submission.origin
    return {
        "dataset_id": submission.dataset.spec.id,
        "contract_version": submission.version.number,
        "config_version": origin.config_version,
        "receipt_id": origin.receipt_id,
        "request_id": origin.request_id,
        "principal_id": origin.principal_id,
        "source": origin.source,
        "format": origin.form.value,
        "received_at": origin.received_at_us,
        "raw_encoding": "identity",
    }


def _places(faults: Sequence[RowFault]) -> dict[str, list[Any]]:
    return {
        "row_index": [fault.row for fault in faults],
        "line": [fault.line for fault in faults],
        "byte_offset": [fault.byte_offset for fault in faults],
        "row_key": [fault.key for fault in faults],
    }


def _raws(faults: Sequence[RowFault], *, keep: bool) -> dict[str, list[Any]]:
    return {
        "raw": [fault.raw[:MAX_RAW_BYTES] if keep else None for fault in faults],
        "raw_truncated": [len(fault.raw) > MAX_RAW_BYTES for fault in faults],
        "raw_sha256": [hashlib.sha256(fault.raw).hexdigest() for fault in faults],
    }


def _reasons(faults: Sequence[RowFault], submission: Submission) -> dict[str, list[Any]]:
    dataset_id, number = submission.dataset.spec.id, submission.version.number
    return {
        "first_code": [fault.errors[0].code for fault in faults],
        "first_path": [fault.errors[0].path for fault in faults],
        "fingerprint": [fingerprint_of(dataset_id, number, kinds_of(fault.errors)) for fault in faults],
    }


def _history(faults: Sequence[RowFault], earlier: Sequence[Earlier]) -> dict[str, list[Any]]:
    before = [earlier[fault.row] if earlier else None for fault in faults]
    return {
        "attempt": [1 if past is None else past.attempt + 1 for past in before],
        "replay_of": [None if past is None else past.quarantine_id for past in before],
    }


def _errors(faults: Sequence[RowFault]) -> pa.ListArray:
    flat = [error for fault in faults for error in fault.errors]
    members = {
        "code": [error.code for error in flat],
        "path": [error.path for error in flat],
        "message": [error.message for error in flat],
        "expected": [None if error.expected is None else to_json(error.expected).decode() for error in flat],
        "actual": [error.actual for error in flat],
        "rule": [error.rule for error in flat],
        "severity": ["error"] * len(flat),
    }
    arrays = [pa.array(members[member.name], member.type) for member in ERROR_TYPE]
    offsets = list(accumulate((len(fault.errors) for fault in faults), initial=0))
    values = pa.StructArray.from_arrays(arrays, fields=list(ERROR_TYPE))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _dialects(submission: Submission, rows: int) -> list[str | None]:
    """Return each row's dialect; rows beyond ``MAX_DIALECT_BYTES`` go without and cannot be replayed."""
    origin = submission.origin
    if origin.form is not Format.CSV:
        return [None] * rows
    dialect = origin.dialect
    text = to_json(
        {
            "delimiter": dialect.delimiter,
            "quote": dialect.quote,
            "null": dialect.null,
            "header": origin.csv_header,
        }
    ).decode()
    kept = min(rows, MAX_DIALECT_BYTES // len(text))
    return [text] * kept + [None] * (rows - kept)


def _event_time(fault: RowFault, submission: Submission) -> datetime | None:
    """Return when a refused row says that it happened, where that can be read at all."""
    name = submission.version.contract.event_time
    if name is None or submission.origin.form is Format.CSV:
        return None
    try:
        at = datetime.fromisoformat(orjson.loads(fault.raw).get(name))
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
