"""The flag service as the kit runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from fastapi import APIRouter
from prometheus_client.registry import Collector

from headwater.core.snapshot import Snapshot
from headwater.services.flags.catalog import ServedFlags, serve_flags
from headwater.services.flags.evaluation import EvaluateAll, EvaluateOne
from headwater.services.flags.exposures import ExposureLog
from headwater.services.flags.routes import flags_router
from headwater.services.flags.usage import Usage, UsageReporter
from headwater.services.kit.service import HotHandler, Runtime


class FlagService:
    """Evaluates flags. One that cannot be used keeps no other from it."""

    name = "flags"

    def __init__(self, runtime: Runtime, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Prepare; nothing is written or told yet. ``transport`` reaches control, when not over the network."""
        self._runtime = runtime
        self._usage = Usage()
        self._reporter = UsageReporter(self._usage, runtime.home, runtime.settings.control_url, transport=transport)
        self._exposures = ExposureLog(runtime.committer)
        self._one = EvaluateOne(runtime, self._usage, self._exposures, self.name)
        self._every = EvaluateAll(runtime, self._usage, self.name)

    def compile(self, snapshot: Snapshot, previous: Any | None) -> ServedFlags:
        """Make the flags of a snapshot ready."""
        return serve_flags(snapshot, previous)

    def router(self) -> APIRouter:
        """Return the documented routes."""
        return flags_router(self._runtime, self._one, self._every, self.name)

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return the two evaluations."""
        return {
            ("POST", "/ofrep/v1/evaluate/flags/{key}"): self._one,
            ("POST", "/ofrep/v1/evaluate/flags"): self._every,
        }

    def internal_router(self) -> APIRouter | None:
        """Return nothing: what control wants to know is told to it."""
        return None

    async def start(self) -> None:
        """Begin to write exposures and to tell counts."""
        self._exposures.start()
        self._reporter.start()

    async def stop(self) -> None:
        """Write and tell what is left."""
        await self._exposures.stop()
        await self._reporter.stop()

    def problems(self) -> Sequence[str]:
        """Return nothing: what cannot be used is a degradation, the rest serves."""
        return ()

    def degradations(self) -> Sequence[str]:
        """Return each flag that cannot be used, and what keeps exposures waiting."""
        faults = [
            f"environment {environment.id}: {fault}"
            for environment in self._runtime.environments.values()
            for fault in environment.compiled[self.name].faults()
        ]
        return [*faults, self._exposures.problem] if self._exposures.problem else faults

    async def report_usage(self) -> bool:
        """Tell control now how often flags were evaluated; return whether it has taken that."""
        return await self._reporter.report()

    def collectors(self) -> Sequence[Collector]:
        """Return the metrics of exposures."""
        return self._exposures.collectors()
