"""The two addresses of the protocol, as raw ASGI."""

from __future__ import annotations

import hashlib
from typing import Final

from headwater.core.clock import epoch_micros
from headwater.services.flags.catalog import PERMISSION, Reply, Scope, ServedFlags, refusal
from headwater.services.flags.exposures import Exposure, ExposureLog
from headwater.services.flags.questions import (
    JSON,
    MAX_BODY_BYTES,
    Receive,
    Send,
    Unanswerable,
    read_subject,
    send_error,
    send_whole,
)
from headwater.services.flags.usage import Usage
from headwater.services.kit.request import authenticate, find_header, read_body
from headwater.services.kit.service import ASGIScope, Runtime

EXPOSURE_HEADER: Final = b"hw-exposure"
_REVALIDATE: Final = (b"cache-control", b"private, no-cache")


class EvaluateOne:
    """``POST /ofrep/v1/evaluate/flags/{key}``."""

    def __init__(self, runtime: Runtime, usage: Usage, exposures: ExposureLog, service: str) -> None:
        """Answer from what ``service`` compiled."""
        self._runtime = runtime
        self._usage = usage
        self._exposures = exposures
        self._service = service
        self._stall_seconds = runtime.settings.ingest.body_stall_seconds

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = authenticate(self._runtime, scope)
        key = scope["path_params"]["key"]
        if not caller.key.can(PERMISSION, key):
            raise refusal(caller, key)
        body = await read_body(scope, receive, max_bytes=MAX_BODY_BYTES, stall_seconds=self._stall_seconds)
        served: ServedFlags = caller.environment.compiled[self._service]
        flag = served.compiled.flags.get(key)
        if flag is None:
            missing = caller.environment.missing("flag_not_found", f"there is no flag {key[:100]!r}")
            await send_error(send, "FLAG_NOT_FOUND", missing.detail, key)
            return
        try:
            subject = read_subject(served, body)
        except Unanswerable as error:
            await send_error(send, error.code, error.details, key)
            return
        now_us = epoch_micros(self._runtime.clock.now())
        outcome = flag.decide(subject, now_us)
        status = 200 if outcome.error_code is None else 400
        await send_whole(send, status, served.fragments[outcome], (JSON,))
        if outcome.variant is None:
            return
        self._usage.count(caller.environment.id, key, outcome.variant)
        spec = served.specs[key]
        if spec.exposures or find_header(scope, EXPOSURE_HEADER) == b"true":
            self._exposures.add(caller, Exposure.of(outcome, spec, subject.key, now_us, caller.key.principal_id))


class EvaluateAll:
    """``POST /ofrep/v1/evaluate/flags``: every flag that the key may evaluate, or 304 where nothing changed.

    The entity tag is that of what was asked, of what the flags say and of the span between two instants of schedules:
    all that an answer depends on. So a client that has the answer is told so before its context is even read.
    """

    def __init__(self, runtime: Runtime, usage: Usage, service: str) -> None:
        """Answer from what ``service`` compiled."""
        self._runtime = runtime
        self._usage = usage
        self._service = service
        self._stall_seconds = runtime.settings.ingest.body_stall_seconds

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = authenticate(self._runtime, scope)
        served: ServedFlags = caller.environment.compiled[self._service]
        chosen = served.scope(caller)
        body = await read_body(scope, receive, max_bytes=MAX_BODY_BYTES, stall_seconds=self._stall_seconds)
        now_us = epoch_micros(self._runtime.clock.now())
        epoch = served.compiled.epoch(now_us)
        reply = served.replies.find(body, epoch, chosen)
        self._usage.count_bulk(caller.environment.id)
        tag = _tag(served, chosen, body, epoch) if reply is None else reply.tag
        if is_known(find_header(scope, b"if-none-match"), tag):
            await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", tag), _REVALIDATE]})
            await send({"type": "http.response.body", "body": b""})
            return
        if reply is None:
            try:
                reply = _answer(served, chosen, body, tag, now_us)
            except Unanswerable as error:
                await send_error(send, error.code, error.details)
                return
            served.replies.keep(body, epoch, chosen, reply)
        await send_whole(send, 200, reply.body, (JSON, (b"etag", tag), _REVALIDATE))


def _answer(served: ServedFlags, scope: Scope, body: bytes, tag: bytes, now_us: int) -> Reply:
    subject = read_subject(served, body)
    fragments = served.fragments
    answers = [fragments[decide(subject, now_us)] for decide in scope.asked]
    return Reply(tag, b'{"flags":[' + b",".join(answers + scope.fixed) + b"]}")


def _tag(served: ServedFlags, scope: Scope, body: bytes, epoch: int) -> bytes:
    state = f"{served.compiled.digest} {epoch} ".encode()
    return b'"' + hashlib.sha256(state + scope.tag + b" " + body).hexdigest()[:32].encode() + b'"'


def is_known(header: bytes | None, tag: bytes) -> bool:
    """Return whether ``If-None-Match`` names ``tag``; whether a tag is weak makes no difference there."""
    if header is None:
        return False
    return header == tag or any(item.strip().removeprefix(b"W/") in (tag, b"*") for item in header.split(b","))
