"""What a request to an endpoint asks for: which endpoint, which format, and the parameters as they were sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson

from headwater.core.errors import HeadwaterError
from headwater.services.kit.request import find_header, read_body
from headwater.services.kit.service import ASGIScope
from headwater.services.query.formats import ResultFormat, accepted_format, named_format

FORMAT_PARAMETER: Final = "format"
MAX_BODY_BYTES: Final = 1 << 20
_STALL_SECONDS: Final = 10.0

Receive = Callable[[], Awaitable[dict[str, Any]]]


def read_query_string(query: bytes) -> dict[str, str]:
    """Return the parameters of a query string.

    Raises:
        HeadwaterError: ``parameter_invalid`` for a name that comes twice or text that is not UTF-8.
    """
    given: dict[str, str] = {}
    for pair in query.split(b"&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition(b"=")
        try:
            name, value = _decode(raw_name), _decode(raw_value)
        except UnicodeDecodeError:
            raise _invalid(raw_name.decode("ascii", "replace")[:64], "is not UTF-8") from None
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
    scope: ASGIScope, suffix: ResultFormat | None, given: dict[str, str], declared: Mapping[str, Any]
) -> ResultFormat:
    """Return the format asked for, and take ``format`` out of ``given`` unless it is a parameter of the endpoint."""
    if FORMAT_PARAMETER in given and FORMAT_PARAMETER not in declared:
        named = named_format(given.pop(FORMAT_PARAMETER))
        return suffix or named
    return suffix or accepted_format(find_header(scope, b"accept"))


def _decode(raw: bytes) -> str:
    if b"%" not in raw and b"+" not in raw:
        return raw.decode()
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode()


def _invalid(name: str, message: str) -> HeadwaterError:
    return HeadwaterError(
        "parameter_invalid", f"{name} {message}", extra={"errors": [{"parameter": name, "message": message}]}
    )
