"""Composing one process: services on a runtime, following control, behind one door."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Final

import httpx
from fastapi import APIRouter, Depends, FastAPI
from prometheus_client import CollectorRegistry

from headwater.services.kit.asgi import Door
from headwater.services.kit.configuration import Configuration
from headwater.services.kit.docs import docs_router
from headwater.services.kit.fast_lane import LaneHandler, Quick
from headwater.services.kit.health import Health, internal_status_router, public_router
from headwater.services.kit.metrics import ConfigurationMetrics, RequestMetrics
from headwater.services.kit.node import node_guard
from headwater.services.kit.openapi import openapi_router
from headwater.services.kit.problem import install_problem_handlers
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import HotHandler, Measured, Service
from headwater.services.kit.snapshot_client import SnapshotClient

INTERNAL: Final = "/internal/v1"


def compose(
    runtime: ProcessRuntime, services: Sequence[Service], *, transport: httpx.AsyncBaseTransport | None = None
) -> Door:
    """Return the ASGI application of a process; it starts and stops ``services`` and closes ``runtime``.

    Args:
        runtime: what the services share.
        services: those that this process runs.
        transport: how control is reached, when not over the network.
    """
    configuration = Configuration(runtime, services)
    client = SnapshotClient(
        configuration,
        home=runtime.home,
        control_url=runtime.settings.control_url,
        node=_node_name(runtime),
        clock=runtime.clock,
        transport=transport,
    )
    request_metrics = RequestMetrics()
    registry = CollectorRegistry()
    registry.register(request_metrics)
    registry.register(ConfigurationMetrics(configuration.statuses))
    health = Health(runtime, configuration, client, services)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _running(runtime, services, client):
            yield

    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # an address has one form; a redirect would name whatever host the caller claims
        generate_unique_id_function=lambda route: route.name,
    )
    install_problem_handlers(app)
    app.include_router(public_router(health, registry))
    hot: dict[tuple[str, str], HotHandler] = {}
    lane: dict[tuple[str, str], LaneHandler] = {}
    for service in services:
        for collector in service.collectors() if isinstance(service, Measured) else ():
            registry.register(collector)
        app.include_router(service.router())
        hot.update(service.hot_routes())
        lane.update(service.lane_routes() if isinstance(service, Quick) else {})
    app.include_router(_internal_router(health))
    app.include_router(openapi_router(app, runtime, services))
    app.include_router(docs_router())
    return Door(app, hot, request_metrics, lane)


@contextlib.asynccontextmanager
async def _running(runtime: ProcessRuntime, services: Sequence[Service], client: SnapshotClient) -> AsyncIterator[None]:
    """Start the services, then follow control; stop in the reverse order, whatever fails in between."""
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(runtime.close)
        for service in services:
            await service.start()
            stack.push_async_callback(service.stop)
        await client.start()
        stack.push_async_callback(client.stop)
        yield


def _internal_router(health: Health) -> APIRouter:
    """Return everything below ``/internal/v1``, behind the node token."""
    router = APIRouter(
        prefix=INTERNAL, include_in_schema=False, dependencies=[Depends(node_guard(health.runtime.home))]
    )
    router.include_router(internal_status_router(health))
    for service in health.services:
        internal = service.internal_router()
        if internal is not None:
            router.include_router(internal)
    return router


def _node_name(runtime: ProcessRuntime) -> str:
    """Return a name that stays over restarts where one process serves, and tells workers apart where several do."""
    services = runtime.settings.services
    name = f"{socket.gethostname()}:{services.port}"
    return name if services.workers == 1 else f"{name}#{os.getpid()}"
