"""A project's own FastAPI routes: ``services/*.py`` of its directory, below ``/x/``, authenticated and documented.

.. code-block:: python

    from fastapi import APIRouter
    from headwater.services.custom import CurrentCaller, Platform

    router = APIRouter()

    @router.get("/worst")
    async def worst(carrier: str, platform: Platform) -> dict[str, object]:
        return (await platform.query("delay_by_carrier", {"carrier": carrier})).rows[0]

The file ``services/delays.py`` with this answers, at ``/x/delays/worst``, callers who have ``route.invoke`` on
``delays``. ``platform`` is the client of this very process with the caller's key: what the caller may not do, the route
may not do for them. Routes of a ``public_router`` answer anybody.
"""

from __future__ import annotations

from headwater.services.custom.access import CurrentCaller, Platform, need
from headwater.services.custom.service import CustomRoutes
from headwater.services.kit.service import Runtime

__all__ = ["CurrentCaller", "CustomRoutes", "Platform", "create", "need"]


def create(runtime: Runtime) -> CustomRoutes:
    """Return the project's own routes, as far as they can be loaded."""
    return CustomRoutes(runtime)
