"""The hot path of an endpoint: who asks, for what, has it changed since, and only then a query."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from headwater.core.errors import HeadwaterError
from headwater.engines.lake.protocol import TableState
from headwater.engines.query.parameters import bind, to_plain
from headwater.engines.query.protocol import QueryEngine
from headwater.services.kit.metrics import Tally
from headwater.services.kit.request import authenticate, find_header
from headwater.services.kit.service import ASGIScope, Caller, Runtime
from headwater.services.query.cache import Flights, ResultCache
from headwater.services.query.catalog import CompiledEndpoint, CompiledQueries
from headwater.services.query.execution import Execution, QueryRunner
from headwater.services.query.formats import MEDIA_TYPES, ResultFormat, split_suffix
from headwater.services.query.holding import send_body
from headwater.services.query.listening import ClientGone, listening, or_gone
from headwater.services.query.request import Receive, choose_format, read_json_parameters, read_query_string
from headwater.services.query.result import BATCH_ROWS, Shape
from headwater.services.query.rulings import Ruling, describe_rulings, policy_headers
from headwater.services.query.versions import TableVersions

Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_VARY: Final = (b"vary", b"Authorization, Accept")
_REVALIDATE: Final = (b"cache-control", b"private, no-cache, must-revalidate")
_NO_STORE: Final = (b"cache-control", b"no-store")
_CONDITIONAL: Final = frozenset({"GET", "HEAD"})
_CONTENT_TYPES: Final = {form: (b"content-type", media.encode()) for form, media in MEDIA_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood: an endpoint, its values, the pinned tables and the format."""

    environment_id: str
    endpoint: CompiledEndpoint
    values: Mapping[str, Any]
    states: Sequence[TableState | None]
    format: ResultFormat
    tag: bytes
    rulings: Sequence[Ruling | None] = ()

    @property
    def decided(self) -> list[tuple[str, Ruling]]:
        """Return what policies decided, by the name of the table, or ``endpoint:`` and that of the endpoint."""
        if not self.rulings:
            return []
        names = [*(table.name for table in self.endpoint.tables), f"endpoint:{self.endpoint.spec.name}"]
        return [(name, one) for name, one in zip(names, self.rulings, strict=True) if one is not None]

    @property
    def versions(self) -> dict[str, int | None]:
        """Return the version of every table that is read."""
        pairs = zip(self.endpoint.tables, self.states, strict=True)
        return {table.name: None if state is None else state.version for table, state in pairs}


class EndpointHandler:
    """``GET``, ``HEAD`` and ``POST /v1/endpoints/{endpoint}``, as raw ASGI."""

    def __init__(
        self, runtime: Runtime, engine: QueryEngine, runner: QueryRunner, versions: TableVersions, service: str
    ) -> None:
        """Serve the endpoints that ``service`` compiled."""
        self._runtime = runtime
        self._engine = engine
        self._runner = runner
        self._versions = versions
        self._service = service
        self._cache = ResultCache()
        self._flights: Flights[Execution] = Flights(Execution.close)
        self.answers = self._tally()

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        question = await self._read(scope, receive)
        name = question.endpoint.spec.name
        is_cacheable = not _query(question.endpoint).reads_clock
        headers = _headers(question, is_cacheable=is_cacheable)
        if is_cacheable:
            if _is_known(find_header(scope, b"if-none-match"), question.tag):
                self.answers.add((name, "not_modified"))
                if scope["method"] not in _CONDITIONAL:
                    raise HeadwaterError(
                        "precondition_failed",
                        "If-None-Match names what this would answer, and a POST cannot say that nothing changed",
                        hint="send a GET, or no If-None-Match",
                    )
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
            body = self._cache.find(question.tag)
            if body is not None:
                self.answers.add((name, "cached"))
                await self._send_whole(question, headers, body, send)
                return
        try:
            async with listening(receive) as gone:
                await self._run(question, headers, is_cacheable, gone, send)
        except ClientGone:
            self.answers.add((name, "abandoned"))

    async def answer(self, question: Question, *, max_bytes: int) -> bytes:
        """Return the whole body of an answer that no request waits for, kept and shared as requests have it.

        Raises:
            HeadwaterError: ``result_too_large`` beyond ``max_bytes``, and whatever a request would be answered.
        """
        is_cacheable = not _query(question.endpoint).reads_clock
        kept = self._cache.find(question.tag) if is_cacheable else None
        if kept is not None:
            return kept

        async def begin() -> Execution:
            return await self._execute(question)

        execution, is_owner = await self._flights.join(question.tag, begin) if is_cacheable else (await begin(), True)
        assert execution.result is not None
        body = execution.result.body
        if body is not None:
            if is_cacheable:
                self._cache.put(question.tag, body)
            return body
        with contextlib.closing(execution if is_owner else await begin()) as own:
            return await _collect(own, max_bytes)

    async def _read(self, scope: ASGIScope, receive: Receive) -> Question:
        caller = authenticate(self._runtime, scope)
        compiled: CompiledQueries = caller.environment.compiled[self._service]
        endpoint, suffix = self._find(caller, compiled, scope)
        texts = read_query_string(scope["query_string"])
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
            given = await read_json_parameters(scope, receive)
        values = bind(endpoint.parameters, given, is_text=is_text, defaults=endpoint.defaults)
        states = self._versions.recent(endpoint.streams)
        if states is None:
            states = await self._versions.newest(endpoint.streams)
        rulings: Sequence[Ruling | None] = ()
        if endpoint.policed:
            rulings = compiled.rulings.find_all(endpoint.policed, caller.key, self._runtime.clock.now())
        tag = entity_tag(endpoint, values, states, form, rulings)
        return Question(compiled.environment_id, endpoint, values, states, form, tag, rulings)

    def _tally(self) -> Tally:
        return Tally("headwater_query_answers", "Answers of endpoints by how they came about.", ("endpoint", "outcome"))

    def _find(
        self, caller: Caller, compiled: CompiledQueries, scope: ASGIScope
    ) -> tuple[CompiledEndpoint, ResultFormat | None]:
        """Return what the path names, and the format of its suffix."""
        name, suffix = split_suffix(scope["path_params"]["endpoint"])
        return find_endpoint(caller, compiled, name), suffix

    async def _run(
        self, question: Question, headers: Headers, is_cacheable: bool, gone: asyncio.Future[None], send: Send
    ) -> None:
        name = question.endpoint.spec.name

        async def begin() -> Execution:
            return await self._execute(question)

        if is_cacheable:
            execution, is_owner = await or_gone(self._flights.join(question.tag, begin), gone)
            if not is_owner and execution.result is not None and execution.result.body is None:
                execution = await or_gone(begin(), gone)  # too large to be shared
        else:
            execution = await or_gone(begin(), gone)
        assert execution.result is not None
        self.answers.add((name, "run"))
        headers = [*headers, _timing(execution)]
        body = execution.result.body
        if body is not None:
            if is_cacheable:
                self._cache.put(question.tag, body)
            await self._send_whole(question, headers, body, send)
            return
        with contextlib.closing(execution):
            await _send_chunks(question, headers, execution, gone, send)

    async def _send_whole(self, question: Question, headers: Headers, body: bytes, send: Send) -> None:
        length = (b"content-length", str(len(body)).encode())
        with self._runner.holding.take(len(body)):
            start = {"type": "http.response.start", "status": 200}
            await send({**start, "headers": [*headers, _CONTENT_TYPES[question.format], length]})
            await send_body(body, send)

    async def _execute(self, question: Question) -> Execution:
        endpoint = question.endpoint
        *rulings, own = question.rulings or [None] * (len(endpoint.tables) + 1)
        triples = zip(endpoint.tables, question.states, rulings, strict=True)
        reading = self._engine.start(
            question.environment_id,
            _query(endpoint),
            parameters=question.values,
            tables={table.name: table.source(state, ruling) for table, state, ruling in triples},
            batch_rows=BATCH_ROWS,
            shown=None if own is None else own.shown,
        )
        execution = await self._runner.begin(reading, timeout_seconds=endpoint.spec.timeout_seconds)
        try:
            await execution.run(Shape(question.format, endpoint.spec.max_rows, _meta(question)))
        except BaseException:
            execution.close()
            raise
        return execution


def find_endpoint(caller: Caller, compiled: CompiledQueries, name: str) -> CompiledEndpoint:
    """Return an endpoint that ``caller`` may invoke.

    Raises:
        HeadwaterError: ``endpoint_not_found`` when there is none, or none for this caller; ``sql_rejected`` when it
            cannot be served.
    """
    endpoint = compiled.endpoints.get(name)
    if endpoint is None or not endpoint.is_open_to(caller):
        raise caller.environment.missing(
            "endpoint_not_found",
            f"there is no endpoint {name[:64]!r} for this key",
            hint="see GET /v1/endpoints; the key needs endpoint.invoke on it, and one of the roles it names if it does",
        )
    if endpoint.fault is not None:
        raise endpoint.fault
    return endpoint


def entity_tag(
    endpoint: CompiledEndpoint,
    values: Mapping[str, Any],
    states: Sequence[TableState | None],
    form: ResultFormat,
    rulings: Sequence[Ruling | None] = (),
) -> bytes:
    """Return the quoted tag: equal for equal endpoint, values, table versions, policy, format and engine only."""
    content = [
        [to_plain(value) for value in values.values()],
        [None if state is None else state.version for state in states],
        form,
        [None if one is None else one.digest.hex() for one in rulings],
    ]
    digest = hashlib.blake2b(orjson.dumps(content, default=str), key=endpoint.seed, digest_size=16)
    return f'"{digest.hexdigest()}"'.encode()


def _query(endpoint: CompiledEndpoint) -> Any:
    assert endpoint.query is not None, "find_endpoint lets no endpoint with a fault pass"
    return endpoint.query


def _is_known(header: bytes | None, tag: bytes) -> bool:
    """Return whether ``If-None-Match`` names the tag (weak comparison, RFC 9110 §13.1.2)."""
    if header is None:
        return False
    if header == tag:
        return True
    return header.strip() == b"*" or any(item.strip().removeprefix(b"W/") == tag for item in header.split(b","))


def _headers(question: Question, *, is_cacheable: bool) -> Headers:
    versions = ", ".join(f"{name}={'none' if v is None else v}" for name, v in question.versions.items())
    headers: Headers = [_VARY, (b"hw-table-versions", versions.encode()), *policy_headers(question.decided)]
    if is_cacheable:
        return [*headers, (b"etag", question.tag), _REVALIDATE]
    return [*headers, _NO_STORE]


def _meta(question: Question) -> dict[str, Any]:
    spec = question.endpoint.spec
    meta: dict[str, Any] = {
        question.endpoint.kind: spec.name,
        "revision": spec.revision,
        "table_versions": question.versions,
    }
    return meta | describe_rulings(question.decided)


def _timing(execution: Execution) -> tuple[bytes, bytes]:
    queue, query = execution.queue_seconds * 1_000, execution.query_seconds * 1_000
    return b"server-timing", f"queue;dur={queue:.2f}, query;dur={query:.2f}".encode()


async def _send_chunks(
    question: Question, headers: Headers, execution: Execution, gone: asyncio.Future[None], send: Send
) -> None:
    start = {"type": "http.response.start", "status": 200}
    await send({**start, "headers": [*headers, _CONTENT_TYPES[question.format]]})
    async with contextlib.aclosing(execution.chunks()) as chunks:
        async for chunk in chunks:
            if gone.done():
                raise ClientGone
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


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
