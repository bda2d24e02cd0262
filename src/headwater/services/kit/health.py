"""Is the process alive, is it ready, what does it run: ``/livez``, ``/readyz``, ``/metrics`` and the node's status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY, CollectorRegistry

import headwater
from headwater.services.kit.configuration import Configuration
from headwater.services.kit.metrics import CONTENT_TYPE, render
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import STALE_AFTER_SECONDS, Degradable, Service
from headwater.services.kit.snapshot_client import SnapshotClient


@dataclass(frozen=True, slots=True)
class Health:
    """What the health routes look at."""

    runtime: ProcessRuntime
    configuration: Configuration
    client: SnapshotClient
    services: Sequence[Service]

    def problems(self) -> list[str]:
        """Return why this process cannot serve, empty when it can."""
        found: list[str] = []
        if not self.runtime.is_loaded:
            found.append(f"no configuration was loaded yet: {self.client.trouble or 'control has no environment'}")
        found.extend(f"{service.name}: {problem}" for service in self.services for problem in service.problems())
        return found

    def degradations(self) -> list[str]:
        """Return what is not as it should be while this process serves all the same."""
        found: list[str] = []
        for status in self.configuration.statuses():
            if status.error is not None:
                found.append(f"environment {status.id} stays at snapshot {status.number}: {status.error}")
            elif status.config_age_seconds is not None and status.config_age_seconds > STALE_AFTER_SECONDS:
                found.append(
                    f"environment {status.id} was last confirmed {status.config_age_seconds:.0f} s ago"
                    f" ({self.client.trouble or 'control offers something else'})"
                )
        if self.runtime.is_loaded and self.client.trouble is not None:
            found.append(self.client.trouble)
        for service in self.services:
            if isinstance(service, Degradable):
                found.extend(f"{service.name}: {problem}" for problem in service.degradations())
        return found

    def is_confirmed(self) -> bool:
        """Return whether control said lately that every configuration in force is the newest."""
        return not any(environment.contact.is_stale for environment in self.runtime.environments.values())

    def oldest_age_seconds(self) -> float | None:
        """Return the age of the configuration that control confirmed longest ago."""
        ages = [s.config_age_seconds for s in self.configuration.statuses() if s.config_age_seconds is not None]
        return max(ages, default=None)


def public_router(health: Health, registry: CollectorRegistry) -> APIRouter:
    """Return the routes that need no key."""
    router = APIRouter(tags=["operations"])

    @router.head("/", include_in_schema=False)
    @router.get("/", include_in_schema=False)
    async def index() -> dict[str, Any]:
        return {
            "name": "headwater services",
            "version": headwater.__version__,
            "services": [service.name for service in health.services],
            "documentation": "/docs",
            "openapi": "/openapi.json",
            "ready": "/readyz",
        }

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez", summary="Is the process alive?", openapi_extra={"security": []})
    async def livez() -> dict[str, str]:
        """Answer as long as the process runs."""
        return {"status": "alive"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", summary="Can the process serve?", openapi_extra={"security": []})
    async def readyz() -> Response:
        """Answer 200 when the process can serve, 503 with the reasons when it cannot."""
        return _readiness(health)

    @router.head("/metrics", include_in_schema=False)
    @router.get("/metrics", summary="Numbers for Prometheus", openapi_extra={"security": []})
    async def metrics() -> Response:
        """Return Prometheus text."""
        return Response(render(REGISTRY) + render(registry), media_type=CONTENT_TYPE)

    return router


def internal_status_router(health: Health) -> APIRouter:
    """Return what control asks each node."""
    router = APIRouter()

    @router.get("/status")
    async def status() -> dict[str, Any]:
        return {
            "node": health.client.node,
            "environments": [asdict(status) for status in health.configuration.statuses()],
            "problems": [*health.problems(), *health.degradations()],
        }

    return router


def _readiness(health: Health) -> Response:
    problems, degradations = health.problems(), health.degradations()
    state = "unavailable" if problems else "degraded" if degradations else "ready"
    return JSONResponse(
        {
            "status": state,
            "problems": problems,
            "degraded": degradations,
            "config_age_seconds": health.oldest_age_seconds(),
            "config_confirmed": health.is_confirmed(),
        },
        status_code=HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK,
    )
