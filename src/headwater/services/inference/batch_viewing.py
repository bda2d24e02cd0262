"""Batch jobs for readers of the console: those that they could have started themselves."""

from __future__ import annotations

from fastapi import APIRouter, Request

from headwater.core.errors import HeadwaterError
from headwater.services.inference.batch_routes import MOST_LISTED, BatchDesk, JobOut, JobsOut
from headwater.services.kit.request import read_document
from headwater.services.kit.service import Runtime
from headwater.services.kit.viewing import Viewing, as_viewer


def batch_viewing_router(runtime: Runtime, desk: BatchDesk) -> APIRouter:
    """Return the routes below ``/internal/v1``; control audits what it has cancelled."""
    router = APIRouter()

    @router.post("/viewing/{environment_id}/jobs", response_model=JobsOut)
    async def view_jobs(request: Request, environment_id: str) -> JobsOut:
        viewing = await read_document(request, Viewing)
        return await desk.list(as_viewer(runtime, environment_id, viewing), _limit(viewing))

    @router.post("/viewing/{environment_id}/jobs/{job}", response_model=JobOut)
    async def view_job(request: Request, environment_id: str, job: str) -> JobOut:
        viewing = await read_document(request, Viewing)
        return await desk.find(as_viewer(runtime, environment_id, viewing), job)

    @router.post("/viewing/{environment_id}/jobs/{job}/cancel", response_model=JobOut)
    async def cancel_job(request: Request, environment_id: str, job: str) -> JobOut:
        viewing = await read_document(request, Viewing)
        return await desk.cancel(as_viewer(runtime, environment_id, viewing), job)

    return router


def _limit(viewing: Viewing) -> int:
    text = viewing.parameters.get("limit", str(MOST_LISTED))
    if not isinstance(text, str) or not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise HeadwaterError("invalid_parameter", f"limit is a number from 1 to {MOST_LISTED}, not {str(text)[:20]!r}")
    return int(text)
