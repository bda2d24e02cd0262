"""``POST /v1/predictions/{id}/outcome`` and ``POST /v1/predictions/outcomes``."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import msgspec
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from headwater.contracts.rows import FieldError, Format
from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id, parse_id
from headwater.core.streams import OUTCOMES, stream_name
from headwater.services.inference.outcomes import OutcomeCommit, Report, read_report
from headwater.services.kit.request import MAX_DOCUMENT_BYTES, authenticate, find_header, read_body
from headwater.services.kit.service import Caller, Environment, Runtime
from headwater.services.kit.threads import Threads

SHOWN_ROWS: Final = 100
MAX_REPORTS: Final = 16
_STALL_SECONDS: Final = 30.0
_FORMATS: Final = {
    b"application/json": Format.JSON,
    b"application/x-ndjson": Format.NDJSON,
    b"application/ndjson": Format.NDJSON,
    b"application/jsonl": Format.NDJSON,
}
_VALUE: Final = {"type": ["number", "boolean", "string"]}
_ROW: Final = {
    "type": "object",
    "required": ["outcome"],
    "properties": {
        "outcome": {"anyOf": [_VALUE, {"type": "object", "additionalProperties": _VALUE, "minProperties": 1}]},
        "observed_at": {"type": ["string", "null"], "format": "date-time"},
    },
    "additionalProperties": False,
}
_BULK_ROW: Final = _ROW | {
    "required": ["prediction_id", "outcome"],
    "properties": {"prediction_id": {"type": "string"}, **_ROW["properties"]},  # type: ignore[dict-item]
}


class OutcomeCounts(BaseModel):
    """What became of the outcomes; those of an object count one by one."""

    received: int
    accepted: int
    duplicate: int = Field(description="Known already, with the same content")
    rejected: int


class OutcomesOut(BaseModel):
    """The answer to a report."""

    receipt: str
    counts: OutcomeCounts
    errors_total: int = Field(description="Rows that were refused")
    errors: list[dict[str, Any]] = Field(description="The first hundred of them")


def outcome_router(runtime: Runtime, threads: Threads) -> APIRouter:
    """Return the routes that outcomes are reported to; they are read in ``threads``."""
    router = APIRouter(tags=["inference"])
    desk = Desk(runtime, threads)
    answers: dict[int | str, dict[str, Any]] = {
        207: {"model": OutcomesOut, "description": "Some rows were refused"},
        422: {"model": OutcomesOut, "description": "Every row was refused"},
    }

    @router.post(
        "/v1/predictions/outcomes",
        response_model=OutcomesOut,
        responses=answers,
        openapi_extra=_documented({"oneOf": [{"type": "array", "items": _BULK_ROW}, _BULK_ROW]}, ndjson=True),
    )
    async def report_outcomes(request: Request) -> Response:
        """Report what became of many predictions."""
        caller = _authorise(runtime, request)
        form = _format(request)
        async with desk.place():
            body = await _body(request, runtime.settings.ingest.max_body_bytes)
            return await desk.take(caller.environment, caller.key.principal_id, body, form)

    @router.post(
        "/v1/predictions/{prediction}/outcome",
        response_model=OutcomesOut,
        responses={422: answers[422]},
        openapi_extra=_documented(_ROW),
    )
    async def report_outcome(request: Request, prediction: str) -> Response:
        """Report what became of a prediction; a report with other content corrects it."""
        caller = _authorise(runtime, request)
        parse_id("prd", prediction)
        async with desk.place():
            body = _named(prediction, await _body(request, MAX_DOCUMENT_BYTES))
            return await desk.take(caller.environment, caller.key.principal_id, body, Format.JSON)

    return router


class Desk:
    """Takes reports, a bounded number at once."""

    def __init__(self, runtime: Runtime, threads: Threads) -> None:
        """Read reports in ``threads``."""
        self._runtime = runtime
        self._threads = threads
        self._under_way = 0

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places; raises ``overloaded`` when all are taken."""
        if self._under_way >= MAX_REPORTS:
            raise HeadwaterError("overloaded", "too many reports are under way", retry_after_seconds=1)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def take(self, environment: Environment, principal_id: str, body: bytes, form: Format) -> Response:
        """Make somebody's report durable and return the answer."""
        report = await self._threads.run(partial(read_report, body, form))
        commit = OutcomeCommit(
            stream=stream_name(environment.id, OUTCOMES),
            report=report,
            receipt_id=new_id("rcp"),
            principal_id=principal_id,
            reported_at_us=time.time_ns() // 1_000,
            config_version=environment.snapshot.number,
        )
        await asyncio.wrap_future(self._runtime.committer.submit(commit))
        return _answer(commit)


def _answer(commit: OutcomeCommit) -> Response:
    report, counts = commit.report, commit.counts
    faults = _faults(report, commit)
    status = 200 if not faults else 207 if counts.rejected < counts.received else 422
    document: dict[str, Any] = {
        "receipt": commit.receipt_id,
        "counts": {
            "received": counts.received,
            "accepted": counts.accepted,
            "duplicate": counts.duplicate,
            "rejected": counts.rejected,
        },
        "errors_total": len(faults),
        "errors": [
            {"row": row, "errors": [asdict(error) for error in faults[row]]} for row in sorted(faults)[:SHOWN_ROWS]
        ],
    }
    if status == 422:  # noqa: PLR2004 - the one status that clients look up a code for
        document["code"] = "all_rows_invalid"
    content = orjson.dumps(document, default=str)
    return Response(content, status, {"hw-receipt": commit.receipt_id}, media_type="application/json")


def _faults(report: Report, commit: OutcomeCommit) -> dict[int, list[FieldError]]:
    faults = {row: list(errors) for row, errors in report.faults.items()}
    for outcome in commit.conflicts:
        path = "/outcome" if outcome.output is None else f"/outcome/{outcome.output}"
        error = FieldError("duplicate_conflict", path, "was corrected too often")
        faults.setdefault(outcome.row, []).append(error)
    return faults


def _authorise(runtime: Runtime, request: Request) -> Caller:
    caller = authenticate(runtime, request.scope)
    if not caller.key.can("outcome.write", OUTCOMES):
        raise HeadwaterError(
            "forbidden",
            f"the key {caller.key.prefix}… lacks outcome.write",
            hint="use a key whose role has it, or ask for a grant",
        )
    return caller


def _format(request: Request) -> Format:
    media = find_header(dict(request.scope), b"content-type")
    form = Format.JSON if media is None else _FORMATS.get(media.partition(b";")[0].strip().lower())
    if form is None:
        raise HeadwaterError(
            "unsupported_media_type", "outcomes come as JSON or NDJSON", hint="application/json, application/x-ndjson"
        )
    return form


async def _body(request: Request, max_bytes: int) -> bytes:
    return await read_body(dict(request.scope), request.receive, max_bytes=max_bytes, stall_seconds=_STALL_SECONDS)


def _named(prediction: str, body: bytes) -> bytes:
    """Return a report of one prediction as a row of many; raises ``malformed_body`` when it is no object."""
    if not body.strip():
        raise HeadwaterError("empty_body")
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HeadwaterError(
            "malformed_body", f"the body must be a JSON object: {error}", hint='send {"outcome": value}'
        ) from error
    if "prediction_id" in members:
        raise HeadwaterError("malformed_body", "the path names the prediction", hint="leave 'prediction_id' out")
    return msgspec.json.encode({"prediction_id": prediction, **members})


def _documented(schema: dict[str, Any], *, ndjson: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if ndjson:
        content["application/x-ndjson"] = {"schema": {"type": "string"}}
    return {"requestBody": {"required": True, "content": content}}
