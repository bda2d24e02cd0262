"""The documented routes of live results, and the internal one by which control gets tickets for its readers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.request import read_document
from headwater.services.kit.service import HotHandler, Runtime
from headwater.services.query.live.ticket_handler import TicketHandler
from headwater.services.query.viewing import Viewing, as_viewer

LIVE_PATH: Final = "/v1/endpoints/{endpoint}/live"
TICKETS_PATH: Final = "/v1/endpoints/{endpoint}/live/tickets"
_STREAM: Final[dict[str, Any]] = {
    "200": {
        "description": (
            "Events until the client goes: `snapshot` (meta and data as the endpoint answers), `patch` (upsert and"
            " delete by the endpoint's key), `problem`, and last `reauth` or `gone`"
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "ticket",
        "in": "query",
        "description": "In place of the Authorization header, for browsers",
        "schema": {"type": "string"},
    },
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Of the last event that was seen; `last_event_id` in the query is the same",
        "schema": {"type": "string"},
    },
]
_BODY: Final = {
    "requestBody": {
        "content": {"application/json": {"schema": {"type": "object", "description": "Values by parameter"}}}
    }
}


class TicketOut(BaseModel):
    """A ticket for one live result."""

    ticket: str
    connect_until: datetime = Field(description="Until when a stream may be opened with it")
    path: str = Field(description="Where to open it, below the address of the services")


def live_router(live: HotHandler, tickets: HotHandler) -> APIRouter:
    """Return the documented routes; who answers are the raw handlers."""
    router = APIRouter(tags=["query"])

    @router.get(LIVE_PATH, response_class=Response, openapi_extra={"parameters": _PARAMETERS, "responses": _STREAM})
    async def watch_endpoint(endpoint: str) -> Response:  # noqa: ARG001 - the handler reads the path
        """Watch an endpoint: its result, then what changes in it; its parameters are the query string."""
        return HandlerResponse(live)

    @router.post(TICKETS_PATH, status_code=201, response_model=TicketOut, openapi_extra=_BODY)
    async def write_ticket(endpoint: str) -> Response:  # noqa: ARG001 - as above
        """Get a short-lived ticket, with which a browser may watch what the key may, with these parameters."""
        return HandlerResponse(tickets)

    return router


def live_viewing_router(runtime: Runtime, tickets: TicketHandler) -> APIRouter:
    """Return the route below ``/internal/v1`` that gives control tickets for its readers."""
    router = APIRouter()

    @router.post("/viewing/{environment_id}/endpoints/{endpoint_name}/live/tickets", response_model=TicketOut)
    async def view_live(request: Request, environment_id: str, endpoint_name: str) -> Any:
        viewing = await read_document(request, Viewing)
        caller = as_viewer(runtime, environment_id, viewing)
        return tickets.write(caller, endpoint_name, viewing.parameters, is_text=True, is_reader=True)

    return router
