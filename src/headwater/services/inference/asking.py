"""A request to a model while it is under way, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from headwater.core.errors import HeadwaterError
from headwater.services.inference.batch import Inputs, Share
from headwater.services.inference.bodies import Receive
from headwater.services.inference.models import CompiledModels, ServedModel
from headwater.services.inference.overriding import ROUTE, Overridden
from headwater.services.inference.routing import Route
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.service import Caller

TIMEOUT_HEADER: Final = b"hw-timeout-ms"
STICKY_HEADER: Final = b"hw-sticky-key"
_MAX_TIMEOUT_MS: Final = 600_000


class Reader(Protocol):
    """The body of a request in its form, read for whichever version is to answer."""

    async def read(self, version: ServedVersion) -> Inputs:
        """Return the rows as this version's signature wants them.

        Raises:
            HeadwaterError: whatever is wrong with the body.
        """
        ...

    async def reread(self, version: ServedVersion) -> Inputs:
        """Return the rows once more, large numbers held against their text; raises as ``read`` does."""
        ...

    def entity_key(self) -> bytes | None:
        """Return what names the request's first entity, None where it names none."""
        ...


class Asked(msgspec.Struct):
    """A request: who asks which model for what. ``route`` is known from the start where the path names a version.

    ``began`` is when all of it was there: how fast a client sends says nothing about a model. ``receive`` is its
    channel, None where its leaving is told otherwise.
    """

    caller: Caller
    compiled: CompiledModels
    model: ServedModel
    receive: Receive | None
    headers: Mapping[bytes, bytes]
    request_id: str
    began: float
    deadline: float | None = None
    route: Route | None = None
    body: bytes = b""


class Answer(msgspec.Struct):
    """What is served. ``cache`` is hit or miss, None where nothing is kept.

    Where people have overridden something, ``overridden`` has what the version itself said.
    """

    route: Route
    inputs: Inputs
    share: Share
    ids: Sequence[str]
    cache: str | None
    routing: Mapping[str, Any] | None = None
    overridden: Overridden | None = None

    @property
    def route_name(self) -> str:
        """Return what the reply calls the route."""
        return self.route.name if self.overridden is None else ROUTE


def read_deadline(headers: Mapping[bytes, bytes]) -> float | None:
    """Return the instant of ``time.monotonic`` after which the caller no longer waits; raises ``invalid_header``."""
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    if not text.isdigit() or not 1 <= int(text[:9]) <= _MAX_TIMEOUT_MS:
        raise HeadwaterError("invalid_header", f"Hw-Timeout-Ms must be a whole number from 1 to {_MAX_TIMEOUT_MS}")
    return time.monotonic() + int(text) / 1_000
