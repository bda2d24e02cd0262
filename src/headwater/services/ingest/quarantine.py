"""Refused rows as they are kept: one fixed Arrow schema for the rows of every dataset of an environment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pyarrow as pa

from headwater.contracts.rows import FieldError, Format, RowFault
from headwater.engines.journal.protocol import Block, Span
from headwater.services.ingest.encoding import encode_batch
from headwater.services.ingest.reply import general_path, to_json
from headwater.services.ingest.verdict import Earlier, Refusal, Submission, show_quarantine_id

MAX_RAW_BYTES: Final = 1 << 20
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
    rows = [row for share in shares for row in _rows(share)]
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    spans = tuple(
        Span(
            share.submission.origin.receipt_id,
            len(share.refusals),
            share.submission.origin.received_at_us,
            share.submission.version.number,
        )
        for share in shares
        if share.refusals
    )
    return Block(shares[0].submission.dataset.quarantine_stream, encode_batch(batch), len(rows), spans)


def fingerprint_of(dataset_id: str, contract_version: str, errors: Iterable[FieldError]) -> str:
    """Return what refused rows of one kind have in common: dataset, major version, and the set of (code, path)."""
    major = contract_version.partition(".")[0]
    kinds = sorted({(error.code, general_path(error.path)) for error in errors})
    return hashlib.blake2b(to_json([dataset_id, major, kinds]), digest_size=8).hexdigest()


def _rows(share: Share) -> Iterator[dict[str, Any]]:
    submission = share.submission
    origin = submission.origin
    contract = submission.version.contract
    shared = {
        "dataset_id": submission.dataset.spec.id,
        "contract_version": submission.version.number,
        "config_version": origin.config_version,
        "receipt_id": origin.receipt_id,
        "request_id": origin.request_id,
        "principal_id": origin.principal_id,
        "source": origin.source,
        "format": origin.form.value,
        "dialect": _dialect(submission),
        "received_at": origin.received_at_us,
        "raw_encoding": "identity",
    }
    for refusal in share.refusals:
        fault = refusal.fault
        assert refusal.quarantine_id is not None
        earlier = submission.earlier[fault.row] if submission.earlier else None
        yield {
            **shared,
            "quarantine_id": show_quarantine_id(refusal.quarantine_id),
            "row_index": fault.row,
            "line": fault.line,
            "byte_offset": fault.byte_offset,
            "event_time": _event_time(fault, origin.form, contract.event_time),
            "row_key": fault.key,
            **_raw(fault.raw, keep=contract.store_raw),
            **_reasons(fault, submission),
            **_history(earlier),
        }


def _raw(raw: bytes, *, keep: bool) -> dict[str, Any]:
    return {
        "raw": raw[:MAX_RAW_BYTES] if keep else None,
        "raw_truncated": len(raw) > MAX_RAW_BYTES,
        "raw_sha256": hashlib.sha256(raw).hexdigest(),
    }


def _reasons(fault: RowFault, submission: Submission) -> dict[str, Any]:
    first = fault.errors[0]
    return {
        "errors": [
            {
                "code": error.code,
                "path": error.path,
                "message": error.message,
                "expected": None if error.expected is None else to_json(error.expected).decode(),
                "actual": error.actual,
                "rule": error.rule,
                "severity": "error",
            }
            for error in fault.errors
        ],
        "first_code": first.code,
        "first_path": first.path,
        "fingerprint": fingerprint_of(submission.dataset.spec.id, submission.version.number, fault.errors),
    }


def _history(earlier: Earlier | None) -> dict[str, Any]:
    if earlier is None:
        return {"attempt": 1, "replay_of": None}
    return {"attempt": earlier.attempt + 1, "replay_of": show_quarantine_id(earlier.quarantine_id)}


def _dialect(submission: Submission) -> str | None:
    origin = submission.origin
    if origin.form is not Format.CSV:
        return None
    dialect = origin.dialect
    return to_json(
        {
            "delimiter": dialect.delimiter,
            "quote": dialect.quote,
            "null": dialect.null,
            "header": origin.csv_header,
        }
    ).decode()


def _event_time(fault: RowFault, form: Format, name: str | None) -> datetime | None:
    """Return when a refused row says that it happened, where that can be read at all."""
    if name is None or form is Format.CSV:
        return None
    try:
        value = orjson.loads(fault.raw).get(name)
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
