"""What the query log says of a day: which endpoints took most time, and which single queries took longest."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson
from fastapi import APIRouter

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import EndpointSpec, ParameterSpec
from headwater.core.streams import QUERY_LOG
from headwater.services.kit.service import Runtime
from headwater.services.query.answering import Answering, Means
from headwater.services.query.compiling import CompiledEndpoint, compile_endpoint
from headwater.services.query.formats import ResultFormat
from headwater.services.query.log import Answer
from headwater.services.query.question import Question, entity_tag
from headwater.services.query.shown_tables import query_log_table

MOST_ROWS: Final = 50
_ENDPOINTS: Final = """
SELECT kind, name, sum(answers)::BIGINT AS answers, count(DISTINCT principal_id) AS callers,
  sum(answers * total_ms) AS total_ms, sum(answers * total_ms) / sum(answers) AS mean_ms,
  quantile_cont(query_ms, 0.95) FILTER (source IN ('accelerator', 'parquet', 'worker')) AS p95_query_ms,
  coalesce(sum(answers) FILTER (source IN ('not_modified', 'memory', 'shared', 'stale')), 0) / sum(answers) AS cached,
  coalesce(sum(answers) FILTER (source = 'accelerator'), 0)::BIGINT AS accelerated,
  coalesce(sum(answers) FILTER (status >= 400), 0)::BIGINT AS failed,
  coalesce(sum(bytes_scanned), 0)::BIGINT AS bytes_scanned, coalesce(sum(answers * bytes_out), 0)::BIGINT AS bytes_out
FROM query_log WHERE answered_at >= $since AND answered_at < $until
GROUP BY kind, name ORDER BY total_ms DESC, kind, name LIMIT 50
"""
_SLOWEST: Final = """
SELECT kind, name, principal_label, parameters, policy, source, status, code, rows, bytes_out, bytes_scanned, queue_ms,
  query_ms, total_ms, answered_at
FROM query_log WHERE answered_at >= $since AND answered_at < $until
ORDER BY total_ms DESC, answered_at LIMIT 50
"""


class SlowQueries:
    """Reports of the query log, for control."""

    def __init__(self, runtime: Runtime, means: Means, engine: str) -> None:
        """Ask by ``means``; ``engine`` is what runs the SQL."""
        self._runtime = runtime
        self._means = means
        self._engine = engine
        self._answering = Answering(means)
        self._compiled: dict[tuple[str, str], CompiledEndpoint] = {}

    def router(self) -> APIRouter:
        """Return the route below ``/internal/v1``."""
        router = APIRouter()

        @router.get("/queries/{environment_id}/report")
        async def report(environment_id: str, day: date | None = None) -> dict[str, Any]:
            if environment_id not in self._runtime.environments:
                raise HeadwaterError("not_found", f"this node serves no environment {environment_id[:64]!r}")
            day = day or self._runtime.clock.now().astimezone(UTC).date()
            endpoints = await self._ask(environment_id, "endpoints", _ENDPOINTS, day)
            slowest = await self._ask(environment_id, "slowest", _SLOWEST, day)
            return {"day": day.isoformat(), "endpoints": endpoints, "slowest": slowest}

        return router

    async def _ask(self, environment_id: str, name: str, sql: str, day: date) -> list[dict[str, Any]]:
        since = datetime.combine(day, datetime.min.time(), UTC)
        values = {"since": since, "until": since + timedelta(days=1)}
        endpoint = self._endpoint(environment_id, name, sql)
        states = await self._means.versions.newest(endpoint.streams)
        tag = entity_tag(endpoint, values, states, ResultFormat.JSON)
        question = Question(environment_id, endpoint, values, states, ResultFormat.JSON, tag)
        began = time.monotonic()
        fresh = await self._answering.find(question, Answer("report", name))
        if fresh.kept is None:
            fresh.close()
            raise HeadwaterError(
                "result_too_large", f"the report took {time.monotonic() - began:.1f} s and is too long for a page"
            )
        rows: list[dict[str, Any]] = orjson.loads(fresh.kept.body)["data"]
        return rows

    def _endpoint(self, environment_id: str, name: str, sql: str) -> CompiledEndpoint:
        place = (environment_id, name)
        if place not in self._compiled:
            instants = tuple(ParameterSpec(name=one, type="timestamp", required=True) for one in ("since", "until"))
            spec = EndpointSpec(
                id=f"report:{name}", name=name, revision=1, sql=sql, tables=(QUERY_LOG,), parameters=instants
            )
            endpoint = compile_endpoint(spec, {QUERY_LOG: query_log_table(environment_id)}, self._engine)
            if endpoint.fault is not None:
                raise endpoint.fault
            self._compiled[place] = endpoint
        return self._compiled[place]
