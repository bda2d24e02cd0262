"""What a request to an endpoint asks for: which endpoint, which format, and the parameters as they were sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson

from headwater.core.errors import HeadwaterError
from headwater.services.kit.request import find_header, read_body
from headwater.services.kit.service import ASGIScope
from headwater.services.query.formats import JSON_FORMATS, TRAILERS, ResultFormat, accepted_format, named_format

FORMAT_PARAMETER: Final = "format"
SHAPE_PARAMETER: Final = "shape"
TRAILER_PARAMETER: Final = "trailer"
MAX_BODY_BYTES: Final = 1 << 20
_STALL_SECONDS: Final = 10.0

Receive = Callable[[], Awaitable[dict[str, Any]]]


def read_query_string(query: bytes, lists: Collection[str] = ()) -> dict[str, Any]:
    """Return the parameters of a query string; those that ``lists`` names may come more than once, and are lists.

    Raises:
        HeadwaterError: ``parameter_invalid`` for another name that comes twice, or text that is not UTF-8.
    """
    given: dict[str, Any] = {}
    for pair in query.split(b"&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition(b"=")
        try:
            name, value = _decode(raw_name), _decode(raw_value)
        except UnicodeDecodeError:
            raise _invalid(raw_name.decode("ascii", "replace")[:64], "is not UTF-8") from None
        if name in lists:
            given.setdefault(name, []).append(value)
            continue
        if name in given:
            raise _invalid(name[:64], "is given twice")
        given[name] = value
    return given


async def read_json_parameters(scope: ASGIScope, receive: Receive) -> dict[str, Any]:
    """Return the parameters of a POST: a JSON object of values by name; no body means none.

    Raises:
        HeadwaterError: ``malformed_body``, ``unsupported_media_type`` or ``payload_too_large``.
    """
    body = await read_body(scope, receive, max_bytes=MAX_BODY_BYTES, stall_seconds=_STALL_SECONDS)
    if not body:
        return {}
    return read_json_object(scope, body)


def read_json_object(scope: ASGIScope, body: bytes) -> dict[str, Any]:
    """Return a JSON object; raises ``malformed_body`` or ``unsupported_media_type``."""
    media = (find_header(scope, b"content-type") or b"application/json").partition(b";")[0].strip().lower()
    if media != b"application/json":
        raise HeadwaterError(
            "unsupported_media_type", f"{media.decode('latin-1')[:80]!r} is not read here", hint="send application/json"
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HeadwaterError("malformed_body", f"the body is not JSON: {error}", hint="send a JSON object") from None
    if not isinstance(document, dict):
        raise HeadwaterError("malformed_body", "the body must be a JSON object")
    return document


def choose_format(
    scope: ASGIScope, suffix: ResultFormat | None, given: dict[str, Any], declared: Mapping[str, Any]
) -> ResultFormat:
    """Return the format asked for, and take what says so out of ``given``, unless it is a parameter of the endpoint.

    ``format`` names it, ``shape=columns`` asks JSON for columns instead of rows, ``trailer=true`` asks a stream to say
    at its end that it is complete.

    Raises:
        HeadwaterError: ``not_acceptable`` or ``parameter_invalid``.
    """
    named = _taken(given, FORMAT_PARAMETER, declared)
    form = named_format(named) if named is not None else None
    form = suffix or form or accepted_format(find_header(scope, b"accept"))
    shape, trailer = _taken(given, SHAPE_PARAMETER, declared), _taken(given, TRAILER_PARAMETER, declared)
    if shape is not None:
        if shape not in ("rows", "columns") or form not in JSON_FORMATS:
            raise _invalid(SHAPE_PARAMETER, "must be rows or columns, and is for JSON")
        form = ResultFormat.COLUMNS if shape == "columns" else ResultFormat.JSON
    if trailer is not None:
        if trailer not in ("true", "false") or form not in TRAILERS:
            raise _invalid(TRAILER_PARAMETER, "must be true or false, and is for NDJSON and Arrow")
        form = TRAILERS[form] if trailer == "true" else form
    return form


def _taken(given: dict[str, Any], name: str, declared: Mapping[str, Any]) -> str | None:
    return given.pop(name, None) if name not in declared else None


def _decode(raw: bytes) -> str:
    if b"%" not in raw and b"+" not in raw:
        return raw.decode()
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode()


def _invalid(name: str, message: str) -> HeadwaterError:
    return HeadwaterError(
        "parameter_invalid", f"{name} {message}", extra={"errors": [{"parameter": name, "message": message}]}
    )
