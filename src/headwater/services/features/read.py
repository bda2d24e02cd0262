"""The hot path of an online read, as raw ASGI."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import orjson

from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.features.reading import PRESENT, Reading
from headwater.services.features.catalog import find_view
from headwater.services.kit.request import authenticate, read_body
from headwater.services.kit.service import ASGIScope, Runtime

MAX_BODY_BYTES: Final = 4 << 20
MAX_ENTITIES: Final = 10_000
MAX_REPORTED: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_JSON: Final = (b"content-type", b"application/json")
_SHAPE: Final = 'send {"entities": [{"key": "value"}]}'

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    entities: list[dict[str, Any]]


_decode: Final = msgspec.json.Decoder(_Body).decode


class ReadHandler:
    """``POST /v1/features/{view}/read``."""

    def __init__(self, runtime: Runtime, fetcher: FeatureFetcher, service: str) -> None:
        """Read views that ``service`` compiled."""
        self._runtime = runtime
        self._fetcher = fetcher
        self._service = service
        self._stall_seconds = runtime.settings.ingest.body_stall_seconds

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = authenticate(self._runtime, scope)
        view = find_view(caller, self._service, scope["path_params"]["view"], self._runtime.clock.now())
        body = await read_body(scope, receive, max_bytes=MAX_BODY_BYTES, stall_seconds=self._stall_seconds)
        entities = _read(body)
        now_us = time.time_ns() // 1_000
        reader, readings, errors = await self._fetcher.read(caller.environment.id, view, entities, now_us=now_us)
        if errors:
            raise _invalid(errors)
        reply = _encode(view, reader.names, entities, readings)
        headers = [_JSON, (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})


def _read(body: bytes) -> list[dict[str, Any]]:
    if not body.strip():
        raise HeadwaterError("empty_body", hint=_SHAPE)
    try:
        entities = _decode(body).entities
    except msgspec.ValidationError as error:
        raise HeadwaterError("input_invalid", f"the body is not as it should be: {error}", hint=_SHAPE) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HeadwaterError("malformed_body", f"the body is not JSON: {error}", hint=_SHAPE) from error
    if not entities:
        raise HeadwaterError("input_invalid", "'entities' is empty", hint=_SHAPE)
    if len(entities) > MAX_ENTITIES:
        raise HeadwaterError(
            "too_many_rows", f"{len(entities)} entities, and a request may have {MAX_ENTITIES}", hint="send several"
        )
    return entities


def _encode(
    view: FeatureViewSpec,
    names: Sequence[str],
    entities: Sequence[Mapping[str, Any]],
    readings: Sequence[Reading | None],
) -> bytes:
    present = dict.fromkeys(names, PRESENT)
    results = []
    for entity, reading in zip(entities, readings, strict=True):
        assert reading is not None, "an entity without a reading has an error"
        event, statuses = reading.event_us, reading.statuses
        results.append(
            {
                "entity": entity,
                "values": dict(zip(names, reading.values, strict=True)),
                "event_time": None if event is None else _EPOCH + timedelta(microseconds=event),
                "status": present if statuses is None else dict(zip(names, statuses, strict=True)),
            }
        )
    document = {"view": view.name, "revision": view.revision, "results": results}
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def _invalid(errors: Mapping[int, Sequence[FieldError]]) -> HeadwaterError:
    rows = sorted(errors)
    first = errors[rows[0]][0]
    return HeadwaterError(
        "input_invalid",
        f"entity {rows[0]}: {first.path}: {first.message}",
        extra={
            "errors": [{"row": row, "errors": [asdict(error) for error in errors[row]]} for row in rows[:MAX_REPORTED]],
            "errors_total": len(rows),
            "errors_truncated": len(rows) > MAX_REPORTED,
        },
    )
