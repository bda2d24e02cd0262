"""``POST /v1/sql``: one SELECT of the caller's own, checked and run in a confined worker process."""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import datetime
from typing import Any

from headwater.core.endpoints import LimitsSpec
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import QuerySettings
from headwater.engines.query.sandbox import Sandbox, SandboxResult
from headwater.services.kit.metrics import Tally
from headwater.services.kit.request import authenticate, find_header, read_body
from headwater.services.kit.service import ASGIScope, Caller, Runtime
from headwater.services.query.answering import Means
from headwater.services.query.catalog import CompiledQueries, QueryTable
from headwater.services.query.encoding import make_encoder
from headwater.services.query.formats import MEDIA_TYPES, ResultFormat, accepted_format
from headwater.services.query.holding import send_body
from headwater.services.query.limits import FREE, Limits, Permit
from headwater.services.query.listening import ClientGone, listening, or_gone
from headwater.services.query.log import Answer
from headwater.services.query.request import MAX_BODY_BYTES, Receive, read_json_object
from headwater.services.query.rulings import Ruling, describe_rulings, policy_headers
from headwater.services.query.versions import States

_STALL_SECONDS = 10.0
_NONE = LimitsSpec()
_MEMBERS = frozenset({"sql", "params"})


class SqlHandler:
    """Runs ad-hoc SQL for callers with ``sql.run``, over the datasets they may read."""

    def __init__(self, runtime: Runtime, sandbox: Sandbox, means: Means, service: str) -> None:
        """Run SQL in ``sandbox`` over the tables that ``service`` compiled."""
        self._means = means
        self._runtime = runtime
        self._sandbox = sandbox
        self._service = service
        self._settings: QuerySettings = runtime.settings.query
        self.answers = Tally("headwater_query_sql_answers", "Answers to ad-hoc SQL by outcome.", ("outcome",))

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Any) -> None:
        """Answer one request."""
        began = time.perf_counter()
        caller = authenticate(self._runtime, scope)
        note = Answer("sql", None, source="worker")
        try:
            await self._answer(scope, receive, send, caller, note)
        except ClientGone:
            note.source, note.status = None, 499
            self.answers.add(("abandoned",))
        except HeadwaterError as error:
            note.source, note.status, note.code = None, error.status, error.code
            self.answers.add((error.code,))
            raise
        else:
            self.answers.add(("run",))
        finally:
            note.total_seconds = time.perf_counter() - began
            self._means.log.add(caller.environment, caller.key, note)

    async def _answer(self, scope: ASGIScope, receive: Receive, send: Any, caller: Caller, note: Answer) -> None:
        if not caller.key.can("sql.run", "*"):
            raise HeadwaterError(
                "forbidden",
                "the key may not run SQL of its own",
                hint="use an endpoint, or a key whose role has sql.run",
            )
        permit = await self._means.limits.admit(caller.key, "sql") if Limits.apply_to(caller.key, _NONE) else FREE
        try:
            form = accepted_format(find_header(scope, b"accept"))
            body = await read_body(scope, receive, max_bytes=MAX_BODY_BYTES, stall_seconds=_STALL_SECONDS)
            note.digest = hashlib.blake2b(body, digest_size=8).digest()
            statement = _read(read_json_object(scope, body))
            async with listening(receive) as gone:
                whole, headers = await or_gone(self._run(caller, statement, form, permit, note), gone)
                note.bytes_out = len(whole)
                permit.check(0, len(whole))
                with self._means.runner.holding.take(len(whole)):
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await or_gone(send_body(whole, send), gone)
        finally:
            permit.release()

    async def _run(
        self,
        caller: Caller,
        statement: tuple[str, dict[str, Any]],
        form: ResultFormat,
        permit: Permit,
        note: Answer,
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Return the body of the answer and its headers."""
        compiled: CompiledQueries = caller.environment.compiled[self._service]
        tables = compiled.readable_tables(caller)
        states = await self._means.versions.newest(tuple(table.stream for table in tables))
        now = self._runtime.clock.now()
        rulings = {table.name: _decide(compiled, table, caller, now) for table in tables}
        sources = [table.source(state, rulings[table.name]) for table, state in zip(tables, states, strict=True)]
        began = time.perf_counter()
        result = await self._sandbox.run(
            compiled.environment_id,
            statement[0],
            parameters=statement[1],
            tables=sources,
            max_rows=min(self._settings.sql_max_rows, permit.max_rows or self._settings.sql_max_rows),
            timeout_seconds=self._settings.sql_timeout_seconds,
            max_scanned_bytes=self._settings.sql_max_scanned_bytes,
        )
        note.query_seconds = time.perf_counter() - began
        note.rows, note.bytes_scanned = result.rows.num_rows, result.scanned_bytes
        await self._means.limits.charge(caller.key, result.scanned_bytes)
        decided = [(name, one) for name in result.tables if (one := rulings[name]) is not None]
        note.policy = ", ".join(f"{name}={one.label}" for name, one in decided) or None
        meta = _meta(result, tables, states) | describe_rulings(decided)
        with self._means.runner.holding.take(result.rows.nbytes):
            body = await asyncio.to_thread(_encode, result, form, meta)
        headers = [
            (b"content-type", MEDIA_TYPES[form].encode()),
            (b"content-length", str(len(body)).encode()),
            (b"hw-truncated", b"true" if result.is_truncated else b"false"),
            (b"cache-control", b"no-store"),
            *permit.headers,
            *policy_headers(decided),
        ]
        return body, headers


def _read(document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    unknown = sorted(set(document) - _MEMBERS)
    sql, parameters = document.get("sql"), document.get("params", {})
    if unknown or not isinstance(sql, str) or not isinstance(parameters, dict):
        what = f"{unknown[0]!r} is not expected" if unknown else "'sql' must be text and 'params' an object"
        raise HeadwaterError("malformed_body", what, hint='send {"sql": "SELECT …", "params": {"name": value}}')
    return sql, parameters


def _meta(result: SandboxResult, tables: list[QueryTable], states: States) -> dict[str, Any]:
    known = {table.name: state for table, state in zip(tables, states, strict=True)}
    return {
        "row_count": result.rows.num_rows,
        "truncated": result.is_truncated,
        "table_versions": {name: None if (state := known[name]) is None else state.version for name in result.tables},
    }


def _decide(compiled: CompiledQueries, table: QueryTable, caller: Caller, now: datetime) -> Ruling | None:
    return None if table.policed is None else compiled.rulings.find(table.policed, caller.key, now)


def _encode(result: SandboxResult, form: ResultFormat, meta: dict[str, Any]) -> bytes:
    encoder = make_encoder(form, result.columns, result.rows.schema)
    parts = [encoder.begin(meta)]
    parts += [encoder.encode(batch) for batch in result.rows.to_batches()]
    return b"".join((*parts, encoder.end()))
