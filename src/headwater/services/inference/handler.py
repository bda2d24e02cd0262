"""The hot path of a prediction: let in, read, ask, reply, tell."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from headwater.core.errors import HeadwaterError
from headwater.services.inference import arrow
from headwater.services.inference.asking import Answer, Asked, Reader
from headwater.services.inference.bodies import Body, ClientGone
from headwater.services.inference.fetching import Fetching
from headwater.services.inference.pipeline import Pipeline, find_model
from headwater.services.inference.readers import EntityReader, JsonReader, has_entities
from headwater.services.kit.service import ASGIScope

__all__ = ["PredictHandler", "find_model"]

_JSON: Final = (b"content-type", b"application/json")
_ARROW: Final = (b"content-type", arrow.MEDIA_TYPE)
_OPTIONS: Final = {"on_error": ("null", "reject"), "explain": ("routing",)}
_NO_OPTIONS: Final[dict[str, str]] = {}

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class PredictHandler:
    """``POST /v1/models/{model}/predict`` and ``…/versions/{version}/predict``, as raw ASGI."""

    def __init__(self, pipeline: Pipeline, fetcher: Fetching) -> None:
        """Answer by ``pipeline``, with features from ``fetcher``."""
        self._pipeline = pipeline
        self._fetcher = fetcher

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing is sent to a client that has gone."""
        pipeline = self._pipeline
        asked = pipeline.begin(scope, receive)
        body = Body(pipeline.budget)
        asked.compiled.enter()
        try:
            headers = asked.headers
            options = _read_options(scope["query_string"]) if scope["query_string"] else _NO_OPTIONS
            read = await body.read(scope, receive, headers.get(b"content-length"), pipeline.stall_seconds)
            encoding = headers.get(b"content-encoding")
            asked.body = read if encoding is None else body.expand(read, encoding)
            asked.began = time.monotonic()
            reader = self._reader(asked, options)
            answer = await pipeline.ask(asked, reader, explain="explain" in options)
            is_arrow = headers.get(b"accept") == arrow.MEDIA_TYPE
            reply = _arrow_reply(answer) if is_arrow else _json_reply(answer)
            head = [_ARROW if is_arrow else _JSON, (b"content-length", b"%d" % len(reply))]
            if answer.cache is not None:
                head.append((b"hw-cache", answer.cache.encode()))
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": reply})
            pipeline.tell(asked, answer, reader)
        except ClientGone:
            return
        finally:
            body.close()
            asked.compiled.leave()

    def _reader(self, asked: Asked, options: dict[str, str]) -> Reader:
        partly = options.get("on_error") == "null"
        kind = asked.headers.get(b"content-type", b"")
        is_arrow = kind.startswith(arrow.MEDIA_TYPE)
        if partly and (is_arrow or asked.headers.get(b"accept") == arrow.MEDIA_TYPE):
            raise HeadwaterError("invalid_parameter", "on_error=null is for JSON alone", hint="leave it out")
        if is_arrow:
            return arrow.ArrowReader(asked.body)
        if asked.model.takes_entities and has_entities(asked.body):
            keys = asked.compiled.keys.get(asked.model.spec.name)
            environment, deadline = asked.caller.environment, asked.deadline
            return EntityReader(asked.body, self._fetcher, environment, partly=partly, keys=keys, deadline=deadline)
        return JsonReader(asked.body, partly=partly)


def _json_reply(answer: Answer) -> bytes:
    version = answer.route.version
    extra = None
    if answer.routing is not None or answer.overridden is not None:
        extra = _more(answer)
    inputs = answer.inputs
    return version.replies.write(
        answer.route_name, answer.ids, answer.share, faults=inputs.faults, extra=extra, warnings=inputs.warnings
    )


def _arrow_reply(answer: Answer) -> bytes:
    warnings = list(answer.inputs.warnings)
    if not answer.share.batch.is_finite(answer.share.start, answer.share.stop):
        warnings.append("an output is not a finite number")
    more = None
    if answer.overridden is not None:
        more = {"overrides": orjson.dumps(answer.overridden.provenance(answer.ids)).decode()}
    return arrow.write_table(answer.route.version, answer.route_name, answer.ids, answer.share, warnings, more=more)


def _more(answer: Answer) -> dict[str, Any]:
    """Return what a reply says of itself where it is asked to, or people have overridden something."""
    extra: dict[str, Any] = {}
    if answer.overridden is not None:
        extra["overrides"] = answer.overridden.provenance(answer.ids)
    if answer.routing is not None:
        extra["routing"] = {**answer.routing, "version": answer.route.version.number}
    return extra


def _read_options(query: bytes) -> dict[str, str]:
    """Return the query parameters; raises ``invalid_parameter`` for one that does not exist, or has no such value."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        values = _OPTIONS.get(name)
        if values is None:
            raise HeadwaterError(
                "invalid_parameter", f"there is no parameter {name[:40]!r}", hint=f"there are {', '.join(_OPTIONS)}"
            )
        if value not in values:
            raise HeadwaterError("invalid_parameter", f"{name} must be {' or '.join(values)}, not {value[:40]!r}")
        options[name] = value
    return options
