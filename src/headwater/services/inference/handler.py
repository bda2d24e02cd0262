"""The hot path of a prediction: authenticate, read, route, batch, reply, log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_ids
from headwater.services.inference.batcher import Doubtful, Share
from headwater.services.inference.log import PredictionLog
from headwater.services.inference.models import CompiledModels, Route, ServedModel
from headwater.services.inference.observations import Entry
from headwater.services.inference.signature import Row
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.request import authenticate, context_of, find_header, read_body
from headwater.services.kit.service import ASGIScope, Caller, Runtime

MAX_BODY_BYTES: Final = 8 << 20
STICKY_HEADER: Final = b"hw-sticky-key"
TIMEOUT_HEADER: Final = b"hw-timeout-ms"
_MAX_TIMEOUT_MS: Final = 600_000
_THREAD_FROM_BYTES: Final = 64 << 10
_JSON: Final = (b"content-type", b"application/json")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class PredictHandler:
    """``POST /v1/models/{model}/predict`` and ``…/versions/{version}/predict``, as raw ASGI."""

    def __init__(self, runtime: Runtime, log: PredictionLog, service: str) -> None:
        """Serve the models that ``service`` compiled."""
        self._runtime = runtime
        self._log = log
        self._service = service
        self._stall_seconds = runtime.settings.ingest.body_stall_seconds

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        caller = authenticate(self._runtime, scope)
        model = find_model(caller, self._service, scope["path_params"]["model"], "model.invoke")
        pinned = scope["path_params"].get("version")
        route = None if pinned is None else _pin(caller, model, pinned)
        if route is not None:
            _admit(route.version)  # before the body is read
        deadline = _deadline(scope)
        body = await read_body(scope, receive, max_bytes=MAX_BODY_BYTES, stall_seconds=self._stall_seconds)
        if route is None:
            route = model.choose(find_header(scope, STICKY_HEADER) or body)
            _admit(route.version)
        rows = await _read(route.version, body)
        share = await _predict(route.version, rows, body, deadline)
        identities = new_ids("prd", len(rows))
        reply = route.version.reply(route.name, identities, share)
        headers = [_JSON, (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})
        latency_us = int((time.perf_counter() - began) * 1_000_000)
        request_id = context_of(scope).request_id
        now_us = time.time_ns() // 1_000
        self._log.add(Entry(route.version, caller, request_id, route.name, identities, share, now_us, latency_us))
        if model.shadows:
            await self._shadow(model, caller, request_id, body)

    async def _shadow(self, model: ServedModel, caller: Caller, request_id: str, body: bytes) -> None:
        """Ask the shadow versions too, after the reply was sent; only the log learns what they say."""
        for version in model.shadows:
            began = time.perf_counter()
            try:
                _admit(version)
                rows = await _read(version, body)
                share = await _predict(version, rows, body, None)
            except HeadwaterError:
                continue  # the caller was answered; a shadow that cannot keep up or does not fit answers nobody
            latency_us = int((time.perf_counter() - began) * 1_000_000)
            identities, now_us = new_ids("prd", len(rows)), time.time_ns() // 1_000
            self._log.add(Entry(version, caller, request_id, "shadow", identities, share, now_us, latency_us))


def find_model(caller: Caller, service: str, name: str, permission: str) -> ServedModel:
    """Return a model of the caller's environment.

    Raises:
        HeadwaterError: ``forbidden``, before it is told whether the model exists, or ``model_not_found``.
    """
    if not caller.key.can(permission, name):
        raise HeadwaterError(
            "forbidden",
            f"the key {caller.key.prefix}… lacks {permission} on {name[:80]!r}",
            hint="use a key whose role has it, or ask for a grant",
        )
    compiled: CompiledModels = caller.environment.compiled[service]
    model = compiled.models.get(name)
    if model is None:
        raise caller.environment.missing(
            "model_not_found", f"there is no model {name[:80]!r}", hint="GET /v1/models lists them"
        )
    return model


async def _read(version: ServedVersion, body: bytes) -> Sequence[Row]:
    """Return the rows of a body. A long one is read in a thread: what is wrong with it may take seconds to say."""
    read = version.signature.read
    return read(body) if len(body) <= _THREAD_FROM_BYTES else await asyncio.to_thread(read, body)


async def _predict(version: ServedVersion, rows: Sequence[Row], body: bytes, deadline: float | None) -> Share:
    try:
        return await version.batcher.submit(rows, deadline=deadline)
    except Doubtful:
        reread = version.reread
        rows = reread(body) if len(body) <= _THREAD_FROM_BYTES else await asyncio.to_thread(reread, body)
        return await version.batcher.submit(rows, deadline=deadline, is_exact=True)


def _pin(caller: Caller, model: ServedModel, text: str) -> Route:
    """Return the route to the version that the path names."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - fits 32 bits
    version = model.versions.get(number) if number is not None else None
    if version is not None:
        return Route(version, "override", 0)
    if number is not None and number in model.faults:
        raise model.unavailable(number)
    served = ", ".join(map(str, sorted(model.versions)))
    raise caller.environment.missing(
        "model_not_found",
        f"model {model.spec.name!r} has no version {text[:20]!r} to serve",
        hint=f"it serves {served}" if served else None,
    )


def _admit(version: ServedVersion) -> None:
    if version.batcher.is_full:
        raise HeadwaterError("overloaded", f"too many rows wait for model {version.model!r}", retry_after_seconds=1)


def _deadline(scope: ASGIScope) -> float | None:
    """Return the instant after which the caller no longer waits."""
    text = find_header(scope, TIMEOUT_HEADER)
    if text is None:
        return None
    if not text.isdigit() or not 1 <= int(text[:9]) <= _MAX_TIMEOUT_MS:
        raise HeadwaterError("invalid_header", f"Hw-Timeout-Ms must be a whole number from 1 to {_MAX_TIMEOUT_MS}")
    return time.monotonic() + int(text) / 1_000
