"""The hot path of an endpoint: who asks, for what, has it changed since, and only then a query."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.engines.lake.protocol import TableState
from headwater.services.kit.metrics import Tally
from headwater.services.kit.request import authenticate, find_header
from headwater.services.kit.service import ASGIScope, Caller, Runtime
from headwater.services.query.answering import Answering, Means
from headwater.services.query.cache import Kept
from headwater.services.query.catalog import CompiledEndpoint, CompiledQueries
from headwater.services.query.choices import Choices
from headwater.services.query.compression import MIN_BYTES, choose_coding, compress, compressor
from headwater.services.query.encoding import CONTENT_HEADERS
from headwater.services.query.execution import Execution
from headwater.services.query.finding import ending_headers, find_endpoint
from headwater.services.query.formats import ResultFormat, split_suffix
from headwater.services.query.holding import send_body
from headwater.services.query.limits import FREE, Limits, Permit
from headwater.services.query.listening import ClientGone, listening, or_gone
from headwater.services.query.log import Answer
from headwater.services.query.paging import Paged, PinnedTables, read_page
from headwater.services.query.question import Headers, Question, answer_headers, entity_tag, is_known, link_to_next
from headwater.services.query.request import Receive, choose_format, read_json_parameters, read_query_string
from headwater.services.query.rulings import Ruling

Send = Callable[[dict[str, Any]], Awaitable[None]]

_CONDITIONAL: Final = frozenset({"GET", "HEAD"})
_MAX_CHOICES_BYTES: Final = 1 << 20
_SATURATED: Final = frozenset({"overloaded", "query_timeout"})


@dataclass(slots=True)
class _Asked:
    """A request, what it may do, and the note of what became of it."""

    scope: ASGIScope
    receive: Receive
    send: Send
    note: Answer
    permit: Permit = FREE


class EndpointHandler:
    """``GET``, ``HEAD`` and ``POST /v1/endpoints/{endpoint}``, as raw ASGI."""

    kind = "endpoint"

    def __init__(self, runtime: Runtime, means: Means, service: str) -> None:
        """Serve the endpoints that ``service`` compiled, by the means that all handlers share."""
        self._runtime = runtime
        self._means = means
        self._service = service
        self._answering = Answering(means)
        self._pinned = PinnedTables(runtime.lake)
        self._choices = Choices()
        self.answers = self._tally()

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        caller = authenticate(self._runtime, scope)
        asked = _Asked(scope, receive, send, Answer(self.kind, None))
        try:
            question = await self._read(asked, caller)
            limits = question.endpoint.spec.limits
            if Limits.apply_to(caller.key, limits):
                asked.permit = await self._means.limits.admit(caller.key, question.endpoint.spec.id, limits)
            await self._answer(asked, question)
        except HeadwaterError as error:
            asked.note.source, asked.note.status, asked.note.code = None, error.status, error.code
            raise
        finally:
            asked.permit.release()
            asked.note.total_seconds = time.perf_counter() - began
            self._means.log.add(caller.environment, caller.key, asked.note)

    async def answer(self, question: Question, *, max_bytes: int) -> bytes:
        """Return the whole body of an answer that no request waits for, kept and shared as requests have it.

        Raises:
            HeadwaterError: ``result_too_large`` beyond ``max_bytes``, and whatever a request would be answered.
        """
        note = Answer("live", question.endpoint.spec.name)
        began = time.perf_counter()
        try:
            fresh = await self._answering.find(question, note)
            if fresh.kept is not None:
                return fresh.kept.body
            assert fresh.execution is not None
            with contextlib.closing(fresh.execution) as execution:
                return await _collect(execution, max_bytes)
        finally:
            note.total_seconds = time.perf_counter() - began
            self._means.log.add_shared(self._runtime.environments.get(question.environment_id), note)

    async def _answer(self, asked: _Asked, question: Question) -> None:
        headers = [*answer_headers(question, is_cacheable=question.is_cacheable), *asked.permit.headers]
        if question.endpoint.spec.deprecated_at is not None and question.caller is not None:
            compiled: CompiledQueries = question.caller.environment.compiled[self._service]
            headers += ending_headers(compiled, question.endpoint, self._runtime.clock.now())
        if question.is_cacheable:
            if is_known(find_header(asked.scope, b"if-none-match"), question.etag):
                await self._send_unchanged(asked, question, headers)
                return
            kept = self._answering.remembered(question)
            if kept is not None:
                asked.note.source = "memory"
                self.answers.add((question.endpoint.spec.name, "cached"))
                await self._send_whole(asked, question, headers, kept)
                return
            if self._means.runner.is_saturated(question.label) and await self._send_stale(asked, question):
                return
        try:
            async with listening(asked.receive) as gone:
                await self._run(asked, question, headers, gone)
        except ClientGone:
            asked.note.source, asked.note.status = None, 499
            self.answers.add((question.endpoint.spec.name, "abandoned"))
        except HeadwaterError as error:
            if error.code not in _SATURATED or not await self._send_stale(asked, question):
                raise

    async def _read(self, asked: _Asked, caller: Caller) -> Question:
        scope, note = asked.scope, asked.note
        compiled: CompiledQueries = caller.environment.compiled[self._service]
        endpoint, suffix = self._find(caller, compiled, scope)
        note.name, note.revision, note.parameters = endpoint.spec.name, endpoint.spec.revision, endpoint.parameters
        texts = read_query_string(scope["query_string"], endpoint.lists)
        form = choose_format(scope, suffix, texts, endpoint.parameters)
        is_text = scope["method"] != "POST"
        given: dict[str, Any] = dict(texts)
        if not is_text:
            if texts:
                raise HeadwaterError(
                    "parameter_invalid",
                    "a POST takes its parameters from the body",
                    hint="move them into the JSON body",
                )
            given = await read_json_parameters(scope, asked.receive)
        now = self._runtime.clock.now()
        paged = read_page(caller, endpoint, given, is_text=is_text, now=now)
        values = endpoint.read_values(given, is_text=is_text, now=now) if paged is None else paged.values
        note.values = values
        await self.check_choices(caller, endpoint, values)
        endpoint = endpoint if paged is None else paged.endpoint
        states = await self._states(endpoint, paged)
        rulings: Sequence[Ruling | None] = ()
        if endpoint.policed:
            rulings = compiled.rulings.find_all(endpoint.policed, caller.key, self._runtime.clock.now())
        note.digest = tag = entity_tag(endpoint, values, states, form, rulings)
        coding = choose_coding(find_header(scope, b"accept-encoding"), form)
        question = Question(compiled.environment_id, endpoint, values, states, form, tag, rulings, caller, coding)
        if rulings:
            note.policy = ", ".join(f"{name}={one.label}" for name, one in question.decided)
        return question

    async def check_choices(self, caller: Caller, endpoint: CompiledEndpoint, values: Mapping[str, Any]) -> None:
        """Refuse values that are none of those which queries say they may have; raises ``parameter_invalid``."""
        if endpoint.choices:
            compiled: CompiledQueries = caller.environment.compiled[self._service]
            await self._choices.check(endpoint, values, lambda query: self._ask(caller, compiled, query))

    async def _ask(self, caller: Caller, compiled: CompiledQueries, query: CompiledEndpoint) -> tuple[bytes, bytes]:
        """Return the tag and the body of a short answer as columns, for ``caller`` and of the newest data."""
        states = await self._states(query, None)
        rulings = compiled.rulings.find_all(query.policed, caller.key, self._runtime.clock.now())
        tag = entity_tag(query, {}, states, ResultFormat.COLUMNS, rulings)
        question = Question(compiled.environment_id, query, {}, states, ResultFormat.COLUMNS, tag, rulings, caller)
        return tag, await self.answer(question, max_bytes=_MAX_CHOICES_BYTES)

    async def _states(self, endpoint: CompiledEndpoint, paged: Paged | None) -> Sequence[TableState | None]:
        """Return the tables at the versions that a page is of, else at the newest."""
        if paged is not None and paged.versions is not None:
            return await self._pinned.find(endpoint.streams, paged.versions)
        states = self._means.versions.recent(endpoint.streams)
        if states is None:
            states = await self._means.versions.newest(endpoint.streams)
        if paged is not None:
            self._pinned.note(states)
        return states

    def _tally(self) -> Tally:
        return Tally("headwater_query_answers", "Answers of endpoints by how they came about.", ("endpoint", "outcome"))

    def _find(
        self, caller: Caller, compiled: CompiledQueries, scope: ASGIScope
    ) -> tuple[CompiledEndpoint, ResultFormat | None]:
        """Return what the path names, and the format of its suffix."""
        name, suffix = split_suffix(scope["path_params"]["endpoint"])
        return find_endpoint(caller, compiled, name, self._runtime.clock.now()), suffix

    async def _send_unchanged(self, asked: _Asked, question: Question, headers: Headers) -> None:
        self.answers.add((question.endpoint.spec.name, "not_modified"))
        self._answering.is_current(question, headers)
        if asked.scope["method"] not in _CONDITIONAL:
            raise HeadwaterError(
                "precondition_failed",
                "If-None-Match names what this would answer, and a POST cannot say that nothing changed",
                hint="send a GET, or no If-None-Match",
            )
        asked.note.source, asked.note.status = "not_modified", 304
        await asked.send({"type": "http.response.start", "status": 304, "headers": headers})
        await asked.send({"type": "http.response.body", "body": b""})

    async def _run(self, asked: _Asked, question: Question, headers: Headers, gone: asyncio.Future[None]) -> None:
        fresh = await or_gone(self._answering.find(question, asked.note), gone)
        self.answers.add((question.endpoint.spec.name, "cached" if fresh.execution is None else "run"))
        if question.caller is not None:
            await self._means.limits.charge(question.caller.key, asked.note.bytes_scanned)
        headers = [*headers, *fresh.timing]
        if fresh.kept is not None:
            await self._send_whole(asked, question, headers, fresh.kept)
        elif fresh.execution is not None:
            with contextlib.closing(fresh.execution) as execution:
                await self._send_chunks(asked, question, headers, execution, gone)

    async def _send_stale(self, asked: _Asked, question: Question) -> bool:
        """Answer with the last result that was current, where the endpoint allows it; return whether there was one."""
        seconds = question.endpoint.spec.cache.stale_seconds
        stale = self._answering.stale(question, seconds) if seconds and question.is_cacheable else None
        if stale is None:
            return False
        headers, kept, age = stale
        asked.note.source = "stale"
        self.answers.add((question.endpoint.spec.name, "stale"))
        said = [(b"age", b"%d" % age), (b"hw-stale", b"true"), (b"warning", b'110 - "Response is Stale"')]
        await self._send_whole(asked, question, [*headers, *asked.permit.headers, *said], kept)
        return True

    async def _send_whole(self, asked: _Asked, question: Question, headers: Headers, kept: Kept) -> None:
        asked.permit.check(kept.rows, len(kept.body))
        asked.note.rows, asked.note.bytes_out = kept.rows, len(kept.body)
        if asked.note.source != "stale":
            self._answering.is_current(question, headers)
        body, coding = await self._encoded(question, kept)
        length = (b"content-length", str(len(body)).encode())
        with self._means.runner.holding.take(len(body)):
            start = {"type": "http.response.start", "status": 200}
            link = link_to_next(question, kept.following)
            head = [*headers, *link, *CONTENT_HEADERS[question.format], *coding, length]
            await asked.send({**start, "headers": head})
            await send_body(body, asked.send)

    async def _encoded(self, question: Question, kept: Kept) -> tuple[bytes, Headers]:
        """Return the body as the reader takes it, and the header that says so. Compressed ones are kept, too."""
        coding = question.coding
        if not coding or len(kept.body) < MIN_BYTES:
            return kept.body, []
        known = self._means.results.find(question.etag) if question.is_cacheable else None
        body = await compress(coding, kept.body) if known is None else known.body
        if known is None and question.is_cacheable:
            self._means.results.put(question.etag, Kept(body, kept.rows))
        return body, [(b"content-encoding", coding.encode())]

    async def _send_chunks(
        self, asked: _Asked, question: Question, headers: Headers, execution: Execution, gone: asyncio.Future[None]
    ) -> None:
        assert execution.result is not None
        asked.note.rows = execution.result.rows
        asked.permit.check(execution.result.rows, 0)
        start = {"type": "http.response.start", "status": 200}
        link = link_to_next(question, execution.result.following)
        coding: Headers = [(b"content-encoding", question.coding.encode())] if question.coding else []
        await asked.send({**start, "headers": [*headers, *link, *CONTENT_HEADERS[question.format], *coding]})
        stream = compressor(question.coding) if question.coding else None
        async with contextlib.aclosing(execution.chunks()) as chunks:
            async for chunk in chunks:
                if gone.done():
                    raise ClientGone
                asked.note.bytes_out += len(chunk)
                asked.permit.check(0, asked.note.bytes_out)
                piece = chunk if stream is None else await asyncio.to_thread(stream.compress, chunk)
                if piece:
                    await asked.send({"type": "http.response.body", "body": piece, "more_body": True})
        last = b"" if stream is None else stream.flush()
        await asked.send({"type": "http.response.body", "body": last})


async def _collect(execution: Execution, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async with contextlib.aclosing(execution.chunks()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise HeadwaterError(
                    "result_too_large", f"the result is larger than {max_bytes >> 20} MiB", hint="ask for less of it"
                )
            pieces.append(chunk)
    return b"".join(pieces)
