"""Pages of an endpoint's result by its key: all of one version of the tables, whatever is written meanwhile.

A cursor says what the pages are of (endpoint, parameters, versions of the tables) and the key of the last row seen. It
is signed by the environment, so that it can be neither made nor changed by who holds it; it holds nothing that its
holder has not seen or sent.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson

from headwater.core.errors import HeadwaterError
from headwater.engines.lake.protocol import TableState, TableStore
from headwater.engines.query.parameters import ParameterFault, read_value, to_plain
from headwater.services.kit.service import Caller
from headwater.services.query.compiling import MAX_PAGE_ROWS, CompiledEndpoint, PageOf

LIMIT_PARAMETER: Final = "limit"
CURSOR_PARAMETER: Final = "cursor"
MAX_CURSOR: Final = 8_192
_KEPT_STATES: Final = 256
_PERSON: Final = b"headwater-cursor"
_OWN_KEY: Final = secrets.token_bytes(32)
"""For environments without a key of their own: such cursors are good in this process alone."""


@dataclass(frozen=True, slots=True)
class Paged:
    """A question about one page.

    Attributes:
        endpoint: the endpoint, which answers that page alone.
        values: what its SQL binds.
        versions: the versions of its tables that the pages are of; None for the first page, which chooses them.
    """

    endpoint: CompiledEndpoint
    values: dict[str, Any]
    versions: Sequence[int | None] | None


def read_page(
    caller: Caller, endpoint: CompiledEndpoint, given: dict[str, Any], *, is_text: bool, now: datetime
) -> Paged | None:
    """Return what a request asks of which page; None when it asks for no page. Takes ``limit`` and ``cursor``.

    Raises:
        HeadwaterError: ``parameter_invalid`` for a cursor that is none of ours, or is of something else, and for an
            endpoint without key; ``cursor_expired`` once the endpoint has changed.
    """
    if {LIMIT_PARAMETER, CURSOR_PARAMETER}.intersection(endpoint.parameters):
        return None
    limit, cursor = given.pop(LIMIT_PARAMETER, None), given.pop(CURSOR_PARAMETER, None)
    if limit is None and cursor is None:
        return None
    if not endpoint.spec.key:
        raise _invalid(LIMIT_PARAMETER if cursor is None else CURSOR_PARAMETER, "is for endpoints that declare a `key`")
    secret = _secret(caller.environment.snapshot.environment.mask_key)
    if cursor is None:
        values = endpoint.read_values(given, is_text=is_text, now=now)
        size, after, versions, day = _read_limit(limit), None, None, now.astimezone(UTC).date()
    else:
        content = _open(cursor, secret, endpoint)
        day = date.fromisoformat(content["day"])
        values = endpoint.read_values(content["given"], is_text=False, now=datetime.combine(day, time(), UTC))
        _check_same(endpoint, given, values, is_text=is_text)
        size = content["limit"] if limit is None else _read_limit(limit)
        after, versions = tuple(content["after"]), content["versions"]
    size = min(size, endpoint.spec.max_rows)
    content = {
        "of": [endpoint.spec.id, endpoint.spec.version, endpoint.spec.revision],
        "given": {name: to_plain(values[name]) for name in endpoint.parameters},
        "day": day.isoformat(),
        "limit": size,
    }
    page = PageOf(size, after, lambda last, pinned: _sign(secret, content, last, pinned))
    seed = hashlib.blake2b(b"%d:%d" % (size, after is not None), key=endpoint.seed, digest_size=16).digest()
    return Paged(replace(endpoint, page=page, seed=seed), values | page.values, versions)


class PinnedTables:
    """Earlier versions of tables, as pages ask for them one after the other."""

    def __init__(self, lake: TableStore) -> None:
        """Find them in ``lake``."""
        self._lake = lake
        self._known: OrderedDict[tuple[str, int], TableState] = OrderedDict()

    def note(self, states: Sequence[TableState | None]) -> None:
        """Keep the states that a first page was made of: the next ones will be, too."""
        for state in states:
            if state is not None:
                self._keep(state)

    async def find(self, streams: Sequence[str], versions: Sequence[int | None]) -> tuple[TableState | None, ...]:
        """Return the tables at these versions.

        Raises:
            HeadwaterError: ``cursor_expired`` when one of them is gone.
        """
        if len(streams) != len(versions):
            raise expired("the endpoint reads other tables now")
        return tuple([await self._find(*pair) for pair in zip(streams, versions, strict=True)])

    async def _find(self, stream: str, version: int | None) -> TableState | None:
        if version is None:
            return None
        known = self._known.get((stream, version))
        state = known or await asyncio.to_thread(self._lake.state_at, stream, version)
        if state is None:
            raise expired("the version of the data that they are of is not kept any more")
        self._keep(state)
        return state

    def _keep(self, state: TableState) -> None:
        self._known[state.stream, state.version] = state
        self._known.move_to_end((state.stream, state.version))
        if len(self._known) > _KEPT_STATES:
            self._known.popitem(last=False)


def expired(why: str) -> HeadwaterError:
    """Return the error for pages that cannot go on."""
    return HeadwaterError("cursor_expired", f"the pages cannot go on: {why}", hint="begin again with the first page")


def plain_key(value: Any) -> Any:
    """Return a key's value as a cursor holds it, and DuckDB casts it back."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return repr(value)
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            raise HeadwaterError("sql_failed", "a key must be of plain values", hint="name other columns in `key`")


def _secret(mask_key: str) -> bytes:
    key = hashlib.sha256(mask_key.encode()).digest() if mask_key else _OWN_KEY
    return hashlib.blake2b(b"pages", key=key, person=_PERSON, digest_size=32).digest()


def _sign(secret: bytes, content: Mapping[str, Any], last: Sequence[Any], versions: Sequence[int | None]) -> str:
    content = {**content, "after": [plain_key(value) for value in last], "versions": versions}
    body = orjson.dumps(content)
    text = base64.urlsafe_b64encode(_mac(secret, body) + body).rstrip(b"=").decode()
    if len(text) > MAX_CURSOR:
        raise HeadwaterError(
            "result_too_large", "key and parameters are too long for a cursor", hint="ask for it whole, in .ndjson"
        )
    return text


def _open(cursor: Any, secret: bytes, endpoint: CompiledEndpoint) -> dict[str, Any]:
    """Return what is in a cursor; raises ``parameter_invalid``, or ``cursor_expired`` once the endpoint has changed."""
    if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR:
        raise _invalid(CURSOR_PARAMETER, "is no cursor of ours")
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _invalid(CURSOR_PARAMETER, "is no cursor of ours") from None
    mac, body = raw[:16], raw[16:]
    if not hmac.compare_digest(mac, _mac(secret, body)):
        raise _invalid(CURSOR_PARAMETER, "was changed, or is of another environment")
    content: dict[str, Any] = orjson.loads(body)
    identity, version, revision = content["of"]
    if (identity, version) != (endpoint.spec.id, endpoint.spec.version):
        raise _invalid(CURSOR_PARAMETER, "is of another endpoint")
    if revision != endpoint.spec.revision or len(content["after"]) != len(endpoint.spec.key):
        raise expired("the endpoint was changed")
    return content


def _mac(secret: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=secret, digest_size=16).digest()


def _check_same(
    endpoint: CompiledEndpoint, given: Mapping[str, Any], values: Mapping[str, Any], *, is_text: bool
) -> None:
    """Refuse parameters beside a cursor that are not those its pages are of."""
    for name, raw in given.items():
        spec = endpoint.parameters.get(name)
        if spec is None:
            raise _invalid(name[:64], "is not a parameter")
        try:
            value = read_value(spec, raw, is_text=is_text)
        except ParameterFault as fault:
            raise _invalid(name, str(fault)) from None
        if value != values[name]:
            raise _invalid(name, "is another one in the cursor: leave it out beside it")


def _read_limit(raw: Any) -> int:
    text = str(raw) if not isinstance(raw, bool) else ""
    if text.isascii() and text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= MAX_PAGE_ROWS:  # noqa: PLR2004 - digits
        return int(text)
    raise _invalid(LIMIT_PARAMETER, f"must be a whole number from 1 to {MAX_PAGE_ROWS}")


def _invalid(name: str, message: str) -> HeadwaterError:
    faults = [{"parameter": name, "message": message}]
    return HeadwaterError("parameter_invalid", f"{name} {message}", extra={"errors": faults})
