"""Asking for tickets: keys by ``POST /v1/endpoints/{endpoint}/live/tickets``, control for readers of the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from headwater.engines.query.parameters import to_plain
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import ASGIScope, Caller, Runtime
from headwater.services.query.live.subscription import subscribe
from headwater.services.query.live.tickets import Tickets
from headwater.services.query.live.viewer import Send
from headwater.services.query.request import Receive, read_json_parameters


class TicketHandler:
    """Writes tickets for those who may watch."""

    def __init__(self, runtime: Runtime, tickets: Tickets, service: str) -> None:
        """Write ``tickets`` for endpoints that ``service`` compiled."""
        self._runtime = runtime
        self._tickets = tickets
        self._service = service

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer a key that asks for a ticket for the parameters in the body."""
        caller = authenticate(self._runtime, scope)
        given = await read_json_parameters(scope, receive)
        name: str = scope["path_params"]["endpoint"]
        body = orjson.dumps(self.write(caller, name, given, is_text=False))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def write(
        self, caller: Caller, name: str, given: Mapping[str, Any], *, is_text: bool, is_reader: bool = False
    ) -> dict[str, Any]:
        """Return a ticket as JSON shows it: the text, until when to connect, and the address below the services'.

        Raises:
            HeadwaterError: as asking the endpoint itself would.
        """
        compiled = caller.environment.compiled[self._service]
        found = subscribe(caller, compiled, name, given, is_text=is_text, now=self._runtime.clock.now())
        parameters = {one: to_plain(found.values[one]) for one in given}
        # What a reader may see of this endpoint, and nothing else, travels with them.
        reader = caller.key.model_copy(
            update={"allowances": frozenset({f"endpoint.invoke:{found.endpoint.spec.name}"}), "cidrs": (), "later": ()}
        )
        who: dict[str, Any] = {"reader": reader} if is_reader else {"key_id": caller.key.id}
        ticket, until = self._tickets.write(caller.environment.id, name, parameters, **who)
        path = f"/v1/endpoints/{quote(name)}/live?{urlencode({'ticket': ticket})}"
        return {"ticket": ticket, "connect_until": until.isoformat().replace("+00:00", "Z"), "path": path}
