"""``GET /v1/endpoints/{endpoint}/live``, as raw ASGI: a stream of server-sent events."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.services.kit.exchange import ON_STOP, WRITE_NOW
from headwater.services.kit.request import authenticate, find_header
from headwater.services.kit.service import ASGIScope, Runtime
from headwater.services.query.catalog import CompiledQueries
from headwater.services.query.endpoint_handler import EndpointHandler
from headwater.services.query.finding import find_endpoint
from headwater.services.query.limits import Limits
from headwater.services.query.listening import listening
from headwater.services.query.live.events import MEDIA_TYPE, comment
from headwater.services.query.live.hub import Hub, Right
from headwater.services.query.live.rights import KeyRight, TicketRight
from headwater.services.query.live.tickets import Tickets
from headwater.services.query.live.viewer import Send
from headwater.services.query.request import Receive, read_query_string

TICKET: Final = "ticket"
LAST_ID: Final = "last_event_id"
_RETRY_MS: Final = (1_000, 3_000)
"""Clients come back after a time drawn from these, so that those of a node that restarts do not come all at once."""
_MAX_ID: Final = 256
_IDENTITY: Final = frozenset({b"authorization", b"x-forwarded-for"})
_HEADERS: Final = [
    (b"content-type", MEDIA_TYPE),
    (b"cache-control", b"no-store"),
    (b"vary", b"Authorization, Origin"),
    (b"x-accel-buffering", b"no"),
]
# A page of any origin may read what its ticket is for: the ticket is all the right there is, and no cookie counts.
_ANY_ORIGIN: Final = (b"access-control-allow-origin", b"*")


class LiveHandler:
    """Opens streams. One waits here for its client to go, while its viewer sends what is new."""

    def __init__(
        self,
        runtime: Runtime,
        hub: Hub,
        tickets: Tickets,
        service: str,
        *,
        limits: Limits,
        endpoints: EndpointHandler,
    ) -> None:
        """Let those in whom keys and ``tickets`` allow, as often as ``limits`` say, for what ``endpoints`` would."""
        self._endpoints = endpoints
        self._limits = limits
        self._runtime = runtime
        self._hub = hub
        self._tickets = tickets
        self._service = service

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request, until its client goes or its right ends."""
        right, last_id = self._read(scope)
        subscription = right.subscribe()
        key, spec = subscription.key, subscription.endpoint.spec
        if Limits.apply_to(key, spec.limits):
            # A stream is one request; what is worked out for it is shared with others.
            (await self._limits.admit(key, spec.id, spec.limits)).release()
        await self._endpoints.check_choices(subscription.caller, subscription.endpoint, subscription.values)
        viewer = self._hub.join(right, subscription, send, last_id, scope.get(WRITE_NOW))
        scope[ON_STOP] = viewer.end
        try:
            headers = [*_HEADERS, _ANY_ORIGIN] if isinstance(right, TicketRight) else list(_HEADERS)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            retry = random.randint(*_RETRY_MS)  # noqa: S311 - spreads load, no secret
            beginning = comment("live", retry=retry)
            await send({"type": "http.response.body", "body": beginning, "more_body": True})
            async with listening(receive) as gone:
                gone.add_done_callback(lambda _: viewer.end())
                await viewer.run()
        finally:
            scope.pop(ON_STOP, None)
            self._hub.leave(viewer)

    def _read(self, scope: ASGIScope) -> tuple[Right, str | None]:
        header = find_header(scope, b"last-event-id")
        last_id = header.decode("latin-1") if header is not None else None
        name: str = scope["path_params"]["endpoint"]
        is_anonymous = find_header(scope, b"authorization") is None
        if is_anonymous and TICKET in (given := read_query_string(scope["query_string"])):
            right, asked = self._by_ticket(name, given)
        else:
            right, asked = self._by_key(scope, name)
        last_id = last_id or asked
        return right, last_id[:_MAX_ID] if last_id else None

    def _by_ticket(self, name: str, given: dict[str, Any]) -> tuple[Right, str | None]:
        ticket = self._tickets.read(given.pop(TICKET))
        asked = given.pop(LAST_ID, None)
        if ticket.endpoint != name:
            raise HeadwaterError("unauthenticated", "the ticket is for another endpoint", hint="ask for one for this")
        if given:
            raise HeadwaterError(
                "parameter_invalid",
                "the ticket says what the parameters are",
                hint="leave them out here, and name them when you ask for the ticket",
                extra={"errors": [{"parameter": one[:64], "message": "is in the ticket"} for one in given]},
            )
        return TicketRight(self._runtime, self._service, ticket), asked

    def _by_key(self, scope: ASGIScope, name: str) -> tuple[Right, str | None]:
        caller = authenticate(self._runtime, scope)
        compiled: CompiledQueries = caller.environment.compiled[self._service]
        endpoint = find_endpoint(caller, compiled, name, self._runtime.clock.now())
        given = read_query_string(scope["query_string"], endpoint.lists)
        declared: Mapping[str, Any] = endpoint.parameters
        asked = given.pop(LAST_ID, None) if LAST_ID not in declared else None
        client = scope.get("client")
        identity = [header for header in scope["headers"] if header[0] in _IDENTITY]
        peer = client[0] if client else None
        return KeyRight(self._runtime, self._service, caller.key.id, identity, peer, name, given), asked
