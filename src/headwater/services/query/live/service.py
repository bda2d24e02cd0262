"""The parts of live results, as the query service runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter
from prometheus_client.registry import Collector

from headwater.services.kit.service import HotHandler, Runtime
from headwater.services.query.endpoint_handler import EndpointHandler
from headwater.services.query.limits import Limits
from headwater.services.query.live.handler import LiveHandler
from headwater.services.query.live.hub import Hub
from headwater.services.query.live.routes import LIVE_PATH, TICKETS_PATH, live_router, live_viewing_router
from headwater.services.query.live.ticket_handler import TicketHandler
from headwater.services.query.live.tickets import Tickets
from headwater.services.query.question import Question

MAX_BYTES: Final = 8 << 20
"""A larger result is for a request now and then, not for a stream."""


class Live:
    """Serves the streams of live results and the tickets for them."""

    def __init__(self, runtime: Runtime, endpoints: EndpointHandler, limits: Limits, service: str) -> None:
        """Have ``endpoints`` answer those whom ``limits`` let in."""

        async def ask(question: Question) -> bytes:
            return await endpoints.answer(question, max_bytes=MAX_BYTES)

        tickets = Tickets(runtime.home, runtime.clock)
        self._runtime = runtime
        self._hub = Hub(runtime, ask)
        self._streams = LiveHandler(runtime, self._hub, tickets, service, limits=limits, endpoints=endpoints)
        self._tickets = TicketHandler(runtime, tickets, service)

    def router(self) -> APIRouter:
        """Return the documented routes."""
        return live_router(self._streams, self._tickets)

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return the raw handlers."""
        return {("GET", LIVE_PATH): self._streams, ("POST", TICKETS_PATH): self._tickets}

    def internal_router(self) -> APIRouter:
        """Return the route for control."""
        return live_viewing_router(self._runtime, self._tickets)

    def collectors(self) -> Sequence[Collector]:
        """Return the metrics."""
        return (self._hub, self._hub.events, self._hub.runs)

    async def stop(self) -> None:
        """End every stream."""
        await self._hub.stop()
