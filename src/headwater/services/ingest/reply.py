"""Verdicts on the wire: the reply body, its shortened forms, and the errors of rows."""

from __future__ import annotations

from typing import Any, Final

import orjson
from msgspec import Struct

from headwater.contracts.rows import FieldError, RowFault
from headwater.core.errors import MEDIA_TYPE, HeadwaterError
from headwater.engines.journal.protocol import Counts, IdempotencyRecord
from headwater.services.ingest.idempotency import MAX_STORED_BYTES
from headwater.services.ingest.options import ACCEPT, ACCEPT_ENCODING, ErrorDetail
from headwater.services.ingest.verdict import Refusal, Tally, Verdict, tally
from headwater.services.kit.problem import problem_body, problem_headers

SHOWN_ROWS: Final = 100
REDACTED: Final = "<redacted>"
_JSON: Final = (b"content-type", b"application/json")
_UNSUPPORTED: Final = {
    "unsupported_media_type": (b"accept", ACCEPT.encode()),
    "unsupported_encoding": (b"accept-encoding", ACCEPT_ENCODING.encode()),
}


class Reply(Struct):
    """An answer, ready to be sent by either door."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = []


def to_json(value: Any) -> bytes:
    """Return JSON bytes; what JSON has no form for (decimals, dates) becomes text."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)


def json_reply(value: Any, status: int = 200) -> Reply:
    """Return a JSON answer."""
    return Reply(status, to_json(value), [_JSON])


def problem_reply(error: HeadwaterError, *, instance: str, request_id: str) -> Reply:
    """Return the answer for an error; 415 says what would have been accepted."""
    headers = problem_headers(error)
    if error.code in _UNSUPPORTED:
        headers.append(_UNSUPPORTED[error.code])
    if error.code == "request_timeout":
        headers.append((b"connection", b"close"))
    return Reply(error.status, problem_body(error, instance=instance, request_id=request_id), headers)


def verdict_reply(verdict: Verdict, *, minimal: bool, table_version: int | None = None) -> Reply:
    """Return the answer for a durable verdict; with ``table_version`` it is committed to the table as well."""
    receipt = (b"hw-receipt", verdict.submission.origin.receipt_id.encode())
    if verdict.batch_rejected:
        return Reply(422, verdict.body or rejected_body(verdict), [(b"content-type", MEDIA_TYPE.encode()), receipt])
    if minimal:
        body = to_json({"counts": counts_of(verdict.counts)})
        return Reply(verdict.status, body, [_JSON, receipt, (b"preference-applied", b"return=minimal")])
    if table_version is None:
        return Reply(verdict.status, verdict.body or verdict_body(verdict), [_JSON, receipt])
    document = verdict_document(verdict, verdict.submission.errors)
    document["state"] = "committed"
    document["table_version"] = table_version
    return Reply(verdict.status, to_json(document), [_JSON, receipt])


def stored_reply(record: IdempotencyRecord) -> Reply:
    """Return the answer that was given the first time."""
    is_problem = record.body.startswith(b'{"type":')
    headers = [(b"content-type", MEDIA_TYPE.encode()) if is_problem else _JSON, (b"idempotency-replayed", b"true")]
    if record.receipt_id:
        headers.append((b"hw-receipt", record.receipt_id.encode()))
    return Reply(record.status, record.body, headers)


def full_body(verdict: Verdict) -> bytes:
    """Return the body of the reply to a request that did not ask for less."""
    return rejected_body(verdict) if verdict.batch_rejected else verdict_body(verdict)


def stored_body(verdict: Verdict, full: bytes) -> bytes:
    """Return the body to store for replays: the reply itself, or its summary where that is too long."""
    if len(full) <= MAX_STORED_BYTES:
        return full
    return rejected_body(verdict, "summary") if verdict.batch_rejected else verdict_body(verdict, "summary")


def verdict_body(verdict: Verdict, errors: ErrorDetail | None = None) -> bytes:
    """Return the full reply body as JSON."""
    return to_json(verdict_document(verdict, errors or verdict.submission.errors))


def verdict_document(verdict: Verdict, errors: ErrorDetail) -> dict[str, Any]:
    """Return the full reply body."""
    submission = verdict.submission
    document: dict[str, Any] = {
        "receipt": submission.origin.receipt_id,
        # Where no row was accepted none has to reach the table, and whoever waits for it waits for nothing.
        "state": "committed" if verdict.last_seq is None else "durable",
        "dataset": submission.dataset.name,
        "contract": submission.version.label,
        "config_version": submission.origin.config_version,
        "counts": counts_of(verdict.counts),
        "journal": {"partition": 0, "first_seq": verdict.first_seq, "last_seq": verdict.last_seq},
        **error_members(verdict, errors),
    }
    if verdict.status == 422:  # noqa: PLR2004 - the one status that clients look up a code for
        document["code"] = "all_rows_invalid"
    return document


def rejected_body(verdict: Verdict, errors: ErrorDetail | None = None) -> bytes:
    """Return the problem document of a batch that was rejected as a whole."""
    submission = verdict.submission
    members = {
        "receipt": submission.origin.receipt_id,
        "dataset": submission.dataset.name,
        "contract": submission.version.label,
        "counts": counts_of(verdict.counts),
        **error_members(verdict, errors or submission.errors),
    }
    error = HeadwaterError(
        "batch_rejected",
        f"{len(verdict.refusals)} of {verdict.counts.received} rows are bad; nothing was stored",
        hint="mend the rows listed under errors, or send with on_error=quarantine",
        extra=members,
    )
    instance = f"/v1/datasets/{submission.dataset.name}/rows"
    return problem_body(error, instance=instance, request_id=submission.origin.request_id)


def receipt_errors(verdict: Verdict) -> bytes:
    """Return what a receipt tells about the refused rows of its request."""
    submission = verdict.submission
    members = {"contract": submission.version.label}
    for detail in ("first100", "summary"):
        text = to_json(members | error_members(verdict, detail))
        if len(text) <= MAX_STORED_BYTES:
            return text
    return to_json(members)


def counts_of(counts: Counts) -> dict[str, int]:
    """Return counts as they are shown."""
    return {
        "received": counts.received,
        "accepted": counts.accepted,
        "duplicate": counts.duplicate,
        "stale": counts.stale,
        "quarantined": counts.quarantined,
        "rejected": counts.rejected,
    }


def tally_of(verdict: Verdict) -> Tally:
    """Return what was wrong, counted once however often it is told."""
    if verdict.tally is None:
        verdict.tally = tally(verdict.refusals)
    return verdict.tally


def error_members(verdict: Verdict, detail: ErrorDetail) -> dict[str, Any]:
    """Return the members that tell what was wrong: totals always in full, rows as far as asked for."""
    refusals = verdict.refusals
    if not refusals:
        return {"errors_total": 0, "errors_truncated": False, "error_summary": [], "errors": []}
    groups = tally_of(verdict).errors
    limit = {"summary": 0, "first100": SHOWN_ROWS, "all": len(refusals)}[detail]
    return {
        "errors_total": sum(groups.values()),
        "errors_truncated": len(refusals) > limit,
        "error_summary": [
            {"code": code, "path": path, "count": count}
            for (code, path), count in sorted(groups.items(), key=lambda item: (-item[1], item[0]))
        ],
        "errors": [row_error(refusal) for refusal in refusals[:limit]],
    }


def row_error(refusal: Refusal) -> dict[str, Any]:
    """Return what was wrong with one row."""
    fault: RowFault = refusal.fault
    return {
        "row": fault.row,
        "line": fault.line,
        "byte_offset": fault.byte_offset,
        "key": fault.key,
        "disposition": refusal.disposition,
        "quarantine_id": refusal.quarantine_id,
        "errors": [field_error(error) for error in fault.errors],
    }


def field_error(error: FieldError) -> dict[str, Any]:
    """Return one error of a row."""
    return {
        "code": error.code,
        "path": error.path,
        "message": error.message,
        "expected": error.expected,
        "actual": error.actual,
        "rule": error.rule,
    }
