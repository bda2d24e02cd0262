"""The query service as the kit runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from prometheus_client.registry import Collector

from headwater.core.snapshot import Snapshot
from headwater.engines.query.duck import DuckEngine
from headwater.engines.query.sandbox import Sandbox
from headwater.services.kit.service import Caller, HotHandler, Runtime
from headwater.services.query.answering import Means
from headwater.services.query.cache import SharedResults
from headwater.services.query.catalog import CompiledQueries, compile_queries
from headwater.services.query.endpoint_handler import EndpointHandler
from headwater.services.query.execution import QueryRunner
from headwater.services.query.limits import Limits
from headwater.services.query.live.service import Live
from headwater.services.query.log import QueryLog
from headwater.services.query.measures import AcceleratorMetrics
from headwater.services.query.routes import ENDPOINT_PATH, ROWS_PATH, SQL_PATH, endpoint_paths, query_router
from headwater.services.query.rows_handler import RowsHandler
from headwater.services.query.shared_store import SharedStore
from headwater.services.query.slow import SlowQueries
from headwater.services.query.sql_handler import SqlHandler
from headwater.services.query.versions import TableVersions
from headwater.services.query.viewing import viewing_router


class QueryService:
    """Serves SQL endpoints and ad-hoc SQL. An endpoint that cannot be served never keeps the others from it."""

    name = "query"

    def __init__(self, runtime: Runtime) -> None:
        """Prepare; DuckDB and workers start when first asked."""
        self._runtime = runtime
        self._engine = DuckEngine(runtime.settings, runtime.lake.state)
        self._sandbox = Sandbox(runtime.settings)
        query = runtime.settings.query
        self._runner = QueryRunner(query.concurrency)
        self._versions = TableVersions(runtime.journal, runtime.lake)
        self._store = SharedStore(runtime.settings.cache.url)
        self._log = QueryLog(runtime.committer, is_on=query.log, shows_values=query.log_parameters == "values")
        self._means = Means(
            self._engine,
            self._runner,
            self._versions,
            SharedResults(self._store),
            Limits(runtime.clock, self._store),
            self._log,
        )
        self._endpoints = EndpointHandler(runtime, self._means, self.name)
        self._rows = RowsHandler(runtime, self._means, self.name)
        self._live = Live(runtime, self._endpoints, self._means.limits, self.name)
        self._sql = SqlHandler(runtime, self._sandbox, self._means, self.name)

    def compile(self, snapshot: Snapshot, previous: Any | None) -> CompiledQueries:
        """Check the endpoints of a snapshot, keeping those that did not change."""
        return compile_queries(snapshot, previous, engine=f"duckdb-{self._engine.version}")

    def router(self) -> APIRouter:
        """Return the documented routes."""
        router = query_router(self._runtime, self._endpoints, self._rows, self._sql, self.name)
        router.include_router(self._live.router())
        return router

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return the routes that answer with results."""
        return {
            ("GET", ENDPOINT_PATH): self._endpoints,
            ("HEAD", ENDPOINT_PATH): self._endpoints,
            ("POST", ENDPOINT_PATH): self._endpoints,
            ("POST", SQL_PATH): self._sql,
            ("GET", ROWS_PATH): self._rows,
            ("HEAD", ROWS_PATH): self._rows,
            **self._live.hot_routes(),
        }

    def internal_router(self) -> APIRouter | None:
        """Return the routes by which control asks as a reader of the console."""
        shared = (self._means, self.name)
        router = viewing_router(
            self._runtime,
            lambda runtime: EndpointHandler(runtime, *shared),
            lambda runtime: RowsHandler(runtime, *shared),
        )
        router.include_router(self._live.internal_router())
        router.include_router(SlowQueries(self._runtime, self._means, f"duckdb-{self._engine.version}").router())
        return router

    def openapi_paths(self, caller: Caller) -> Mapping[str, Any]:
        """Return a path for each endpoint that ``caller`` may invoke."""
        return endpoint_paths(caller, caller.environment.compiled[self.name])

    def collectors(self) -> Sequence[Collector]:
        """Return the service's metrics."""
        own = (self._endpoints.answers, self._rows.answers, self._sql.answers, self._log.answers, self._store.calls)
        return (*own, AcceleratorMetrics(self._engine.accelerator), *self._live.collectors())

    async def start(self) -> None:
        """Start nothing: everything begins when first asked."""

    async def stop(self) -> None:
        """End the streams, the workers, the threads and DuckDB."""
        await self._live.stop()
        await self._sandbox.close()
        await self._log.stop()
        await self._store.close()
        self._runner.close()
        self._versions.close()
        self._engine.close()

    def problems(self) -> Sequence[str]:
        """Return nothing: what cannot be served is a degradation, the rest serves."""
        return ()

    def degradations(self) -> Sequence[str]:
        """Return each endpoint that cannot be served and each table that is gone."""
        faults = [
            f"environment {environment.id}: {fault}"
            for environment in self._runtime.environments.values()
            for fault in environment.compiled[self.name].faults()
        ]
        if self._engine.accelerator is not None:
            faults += self._engine.accelerator.problems()
        faults += [problem for problem in (self._store.problem, self._log.problem) if problem]
        return [*faults, *(f"the table of {stream} is gone from the lake" for stream in self._versions.lost())]
