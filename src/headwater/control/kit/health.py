"""Whether this process runs, and whether it can do its work."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse


async def livez(_request: HttpRequest) -> JsonResponse:
    """Answer as long as the process serves requests."""
    return JsonResponse({"status": "ok"})


async def readyz(_request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database can be reached and is up to date, else 503 with what is wrong."""
    problems = await sync_to_async(find_problems)()
    status = {"status": "unavailable" if problems else "ok", "problems": problems}
    return JsonResponse(status, status=503 if problems else 200)


def find_problems() -> list[str]:
    """Return what keeps the control plane from working, in words."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return [f"the control database cannot be used: {str(error).strip()}"]
    return [f"{len(pending)} migrations are not applied; `headwater up` applies them"] if pending else []
