"""The order of work of an ingest request, from its headers to its answer.

The order is the semantics: nothing is read before the caller is known and let in, nothing is looked up before the body
is whole, and nothing has an effect before every row has its verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from headwater.contracts.csvtext import RecordSplitter
from headwater.contracts.framing import BOM
from headwater.contracts.rows import CsvDialect, Format, ReadLimits, RowBatch
from headwater.core.clock import epoch_micros
from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.engines.journal.protocol import IdempotencyConflict, IdempotencyRecord, JournalTransaction
from headwater.services.ingest import metrics
from headwater.services.ingest.admission import Admission, Ticket
from headwater.services.ingest.body import ClientGone, Receive, check_length, decompress, receive_body, verify_digest
from headwater.services.ingest.catalog import Dataset, Version, find_dataset
from headwater.services.ingest.idempotency import InProgress, Keyed, check_fingerprint, fingerprint_of, scope_of
from headwater.services.ingest.options import Headers, Options, read_headers
from headwater.services.ingest.pipeline import Pipeline, make_segment
from headwater.services.ingest.reply import (
    Reply,
    json_reply,
    problem_reply,
    stored_reply,
    tally_of,
    verdict_document,
    verdict_reply,
)
from headwater.services.ingest.segment import Segment, Survey
from headwater.services.ingest.verdict import Origin, Submission, Verdict
from headwater.services.kit.exchange import TAKE_BODY
from headwater.services.kit.idempotency import parse_key
from headwater.services.kit.request import authenticate, context_of
from headwater.services.kit.service import ASGIScope, Caller, Runtime

COMMIT_WAIT_SECONDS: Final = 10.0
_COMMIT_POLL_SECONDS: Final = 0.1
# Larger bodies are worked on in a thread, so that small ones need not wait behind them.
_THREAD_FROM_BYTES: Final = 256 << 10
_UNPACK_THREAD_FROM_BYTES: Final = 16 << 10
_CSV_THREAD_FROM_BYTES: Final = 32 << 10  # its rows can be so short that each byte costs ten times as much
_THREAD_FROM_REFUSALS: Final = 1_000
_NONE_REFUSED: Final[Mapping[tuple[str, str], int]] = {}

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Request(Struct):
    """An ingest request that was let in."""

    caller: Caller
    dataset: Dataset
    version: Version
    asked: Headers
    request_id: str
    received_at_us: int

    @property
    def options(self) -> Options:
        """Return how it wants to be read and answered."""
        return self.asked.options


class Intake:
    """The handlers of ``POST …/rows`` and ``POST …/rows/validate``, the same behind both doors."""

    def __init__(self, runtime: Runtime, pipeline: Pipeline, admission: Admission) -> None:
        """Serve with what the process shares."""
        self._runtime = runtime
        self._pipeline = pipeline
        self._admission = admission
        self._limits = runtime.settings.ingest
        self._read_limits = ReadLimits(max_rows=self._limits.max_rows, max_row_bytes=self._limits.max_row_bytes)
        self._in_progress = InProgress()

    async def ingest(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer ``POST /v1/datasets/{dataset}/rows``."""
        await self._answer(self._ingest, scope, receive, send)

    async def validate(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer ``POST /v1/datasets/{dataset}/rows/validate``."""
        await self._answer(self._validate, scope, receive, send)

    async def _answer(
        self,
        work: Callable[[ASGIScope, Receive], Awaitable[Reply]],
        scope: ASGIScope,
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            reply = await work(scope, receive)
        except ClientGone:
            return
        except HeadwaterError as error:
            reply = problem_reply(error, instance=scope["path"], request_id=context_of(scope).request_id)
        reply.headers.append((b"content-length", b"%d" % len(reply.body)))
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _ingest(self, scope: ASGIScope, receive: Receive) -> Reply:
        request = self._let_in(scope)
        asked = request.asked
        key = None if asked.idempotency_key is None else parse_key(asked.idempotency_key)
        if key is None and request.version.contract.require_idempotency_key:
            raise HeadwaterError(
                "idempotency_key_invalid", f"{request.version.label} requires an Idempotency-Key", hint="send a UUID"
            )
        ticket = self._enter(asked)
        try:
            body, fingerprint = await self._read_body(scope, receive, asked, ticket, want_fingerprint=key is not None)
            if key is None:
                return await self._settle(request, body, None)
            caller = request.caller
            scope_key = scope_of(
                caller.environment.id, request.dataset.name, caller.key.principal_id, scope["method"], key
            )
            return await self._settle_once(request, body, Keyed(scope_key, fingerprint))
        finally:
            ticket.close()

    async def _validate(self, scope: ASGIScope, receive: Receive) -> Reply:
        request = self._let_in(scope)
        ticket = self._enter(request.asked)
        try:
            body, _ = await self._read_body(scope, receive, request.asked, ticket, want_fingerprint=False)
            submission = await self._read_rows(request, body, None)
        finally:
            ticket.close()
        segment: Segment = await asyncio.to_thread(make_segment, [submission])
        survey = Survey(segment)
        await asyncio.wrap_future(self._runtime.committer.submit(survey))
        return _report(survey.verdicts[0])

    def _let_in(self, scope: ASGIScope) -> Request:
        """Return the request once caller, dataset, headers and parameters are known to be right."""
        caller = authenticate(self._runtime, scope)
        dataset = find_dataset(caller, scope["path_params"]["dataset"], "dataset.ingest")
        if dataset.spec.archived:
            raise HeadwaterError("dataset_archived", f"{dataset.name} is archived", hint="restore it in the console")
        asked = read_headers(scope["headers"], scope["query_string"])
        return Request(
            caller=caller,
            dataset=dataset,
            version=dataset.version(asked.options.contract),
            asked=asked,
            request_id=context_of(scope).request_id,
            received_at_us=epoch_micros(self._runtime.clock.now()),
        )

    def _enter(self, asked: Headers) -> Ticket:
        """Return the request's share of the bytes in flight."""
        check_length(asked.content_length, self._limits)
        return self._admission.enter(asked.content_length or 0)

    async def _read_body(
        self, scope: ASGIScope, receive: Receive, asked: Headers, ticket: Ticket, *, want_fingerprint: bool
    ) -> tuple[bytes, bytes]:
        """Return the decompressed body and, if wanted, the request's fingerprint."""
        raw = await receive_body(
            receive,
            declared=asked.content_length,
            limits=self._limits,
            ticket=ticket,
            take=scope.get(TAKE_BODY),
        )

        def unpack() -> tuple[bytes, bytes]:
            if asked.content_digest is not None:
                verify_digest(asked.content_digest, raw)
            body = decompress(raw, asked.options.encoding, self._limits)
            return body, fingerprint_of(body, asked.options) if want_fingerprint else b""

        is_plain = asked.options.encoding == "identity"
        threshold = _THREAD_FROM_BYTES if is_plain else _UNPACK_THREAD_FROM_BYTES
        body, fingerprint = unpack() if len(raw) <= threshold else await asyncio.to_thread(unpack)
        if not body:
            raise HeadwaterError("empty_body", hint="send rows as JSON, NDJSON or CSV")
        if not is_plain:
            ticket.grow(len(body))
        return body, fingerprint

    async def _settle_once(self, request: Request, body: bytes, keyed: Keyed) -> Reply:
        """Settle a keyed request, or return the answer that it got before."""
        self._in_progress.begin(keyed.scope)
        try:
            record = self._runtime.journal.find_idempotency(keyed.scope)
            if record is None:
                return await self._settle(request, body, keyed)
        except IdempotencyConflict as conflict:
            record = conflict.record
        finally:
            self._in_progress.end(keyed.scope)
        check_fingerprint(record, keyed.fingerprint)
        return stored_reply(record)

    async def _settle(self, request: Request, body: bytes, keyed: Keyed | None) -> Reply:
        """Read and validate the rows, make the verdict durable, and return the answer."""
        try:
            submission = await self._read_rows(request, body, keyed)
        except HeadwaterError as error:
            if error.code == "malformed_body" and keyed is not None:
                await self._store_refusal(request, keyed, error)
            raise
        verdict = await self._pipeline.submit(submission)
        name = request.dataset.name
        metrics.BYTES.add((name,), len(body))
        metrics.count_rows(
            name,
            request.caller.key.principal_id,
            verdict.counts,
            tally_of(verdict).rows if verdict.refusals else _NONE_REFUSED,
        )
        if request.options.ack == "committed" and verdict.last_seq is not None:
            return await self._wait_for_table(request, verdict)
        minimal = request.options.minimal
        if len(verdict.refusals) > _THREAD_FROM_REFUSALS:
            return await asyncio.to_thread(verdict_reply, verdict, minimal=minimal)
        return verdict_reply(verdict, minimal=minimal)

    async def _read_rows(self, request: Request, body: bytes, keyed: Keyed | None) -> Submission:
        options = request.options
        validator = request.version.validator

        def read() -> RowBatch:
            return validator.read(body, options.form, dialect=options.dialect, limits=self._read_limits)

        is_csv = options.form is Format.CSV
        threshold = _CSV_THREAD_FROM_BYTES if is_csv else _THREAD_FROM_BYTES
        batch = read() if len(body) <= threshold else await asyncio.to_thread(read)
        return Submission(
            dataset=request.dataset,
            version=request.version,
            origin=Origin(
                request_id=request.request_id,
                receipt_id=new_id("rcp"),
                principal_id=request.caller.key.principal_id,
                received_at_us=request.received_at_us,
                config_version=request.caller.environment.snapshot.number,
                form=options.form,
                dialect=options.dialect,
                csv_header=_csv_header(body, options.dialect, request.version) if is_csv else None,
            ),
            on_error=options.on_error or request.version.contract.on_error,
            received=batch.received,
            errors=options.errors,
            keyed=keyed,
            batch=batch,
        )

    async def _store_refusal(self, request: Request, keyed: Keyed, error: HeadwaterError) -> None:
        """Keep a refusal that trying again cannot change, so that a retry gets the same answer."""
        instance = f"/v1/datasets/{request.dataset.name}/rows"
        reply = problem_reply(error, instance=instance, request_id=request.request_id)
        record = IdempotencyRecord(keyed.scope, keyed.fingerprint, reply.status, reply.body, "", request.received_at_us)
        await asyncio.wrap_future(self._runtime.committer.submit(_Refused(record)))

    async def _wait_for_table(self, request: Request, verdict: Verdict) -> Reply:
        """Return the answer once the rows are in the table, or 202 if that takes too long: they are durable anyhow."""
        stream, seq = request.dataset.stream, verdict.last_seq
        assert seq is not None
        deadline = asyncio.get_running_loop().time() + COMMIT_WAIT_SECONDS
        minimal = request.options.minimal
        while asyncio.get_running_loop().time() < deadline:
            seal = await asyncio.to_thread(self._runtime.journal.find_seal, stream, seq)
            if seal is not None:
                return verdict_reply(verdict, minimal=minimal, table_version=seal.table_version)
            await asyncio.sleep(_COMMIT_POLL_SECONDS)
        reply = verdict_reply(verdict, minimal=minimal)
        reply.status = 202
        return reply


@dataclass(frozen=True, slots=True)
class _Refused:
    """A ``Commit`` that stores an answer and nothing else."""

    record: IdempotencyRecord

    def apply(self, transaction: JournalTransaction) -> None:
        """Store it."""
        transaction.put_idempotency([self.record])


def _report(verdict: Verdict) -> Reply:
    """Return what would become of the rows, and the status that they would get."""
    document = verdict_document(verdict, verdict.submission.errors)
    del document["receipt"], document["journal"]
    document.pop("code", None)
    document["state"] = "validated"
    document["status"] = verdict.status
    for row in document["errors"]:
        row["quarantine_id"] = None
    return json_reply(document)


def _csv_header(body: bytes, dialect: CsvDialect, version: Version) -> str:
    """Return the header that the rows of a readable CSV body go by: theirs, or the order of the contract's fields."""
    if not dialect.header:
        return dialect.delimiter.join(field.name for field in version.contract.fields)
    start = len(BOM) if body.startswith(BOM) else 0
    record = next(RecordSplitter(dialect).split(body, start))
    return body[record.begin : record.end].decode()
