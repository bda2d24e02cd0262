"""By what right somebody watches: a key in a header or a ticket in the address, asked again as time goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import KeySpec
from headwater.services.kit.service import Caller, Environment, Runtime
from headwater.services.query.live.subscription import Subscription, subscribe
from headwater.services.query.live.tickets import Ticket

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class KeyRight:
    """An API key, as it came with the request."""

    runtime: Runtime
    service: str
    owner: str
    headers: Headers
    peer: str | None
    endpoint: str
    given: Mapping[str, Any]

    def subscribe(self) -> Subscription:
        """Return what the key may watch now."""
        caller = self.runtime.authenticate(self.headers, self.peer)
        return _subscribe(self.runtime, self.service, caller, self.endpoint, self.given, is_text=True)


@dataclass(frozen=True, slots=True)
class TicketRight:
    """A ticket, which was good when the stream began."""

    runtime: Runtime
    service: str
    ticket: Ticket

    @property
    def owner(self) -> str:
        """Return whose stream it is."""
        reader = self.ticket.reader
        return self.ticket.key_id or (reader.id if reader is not None else "")

    def subscribe(self) -> Subscription:
        """Return what the ticket's holder may watch now; no longer than the ticket says."""
        ticket, now = self.ticket, self.runtime.clock.now()
        if now >= ticket.stream_until:
            raise HeadwaterError("unauthenticated", "the stream has lasted as long as its ticket allows")
        caller = self._caller()
        found = _subscribe(self.runtime, self.service, caller, ticket.endpoint, ticket.parameters, is_text=False)
        ends = [ticket.stream_until, *([found.until] if found.until is not None else [])]
        return replace(found, until=min(ends))

    def _caller(self) -> Caller:
        ticket, now = self.ticket, self.runtime.clock.now()
        environment = self.runtime.environments.get(ticket.environment_id)
        if environment is None:
            raise HeadwaterError("not_found", "this node does not serve the environment of the ticket")
        key = ticket.reader or _find_key(environment, ticket.key_id)
        if key is None or (key.expires_at is not None and key.expires_at <= now):
            raise HeadwaterError("unauthenticated", "the key that asked for the ticket is no longer valid")
        return Caller(key.at(now), environment)


def _find_key(environment: Environment, key_id: str | None) -> KeySpec | None:
    return next((key for key in environment.snapshot.keys.values() if key.id == key_id), None)


def _subscribe(
    runtime: Runtime, service: str, caller: Caller, endpoint: str, given: Mapping[str, Any], *, is_text: bool
) -> Subscription:
    compiled = caller.environment.compiled[service]
    return subscribe(caller, compiled, endpoint, given, is_text=is_text, now=runtime.clock.now())
