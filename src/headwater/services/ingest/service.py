"""The ingest service: what the kit starts, feeds with configuration and mounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from headwater.core.snapshot import Snapshot
from headwater.services.ingest.admission import Admission
from headwater.services.ingest.catalog import SERVICE, Catalog, compile_catalog
from headwater.services.ingest.intake import Intake
from headwater.services.ingest.internal import make_internal_router
from headwater.services.ingest.pipeline import Pipeline
from headwater.services.ingest.routes import make_router
from headwater.services.kit.service import HotHandler, Runtime
from headwater.services.kit.threads import Threads

ROWS = "/v1/datasets/{dataset}/rows"
VALIDATE = "/v1/datasets/{dataset}/rows/validate"


class IngestService:
    """Takes rows: validates them, makes them durable, keeps the refused ones, and tells what became of each."""

    def __init__(self, runtime: Runtime) -> None:
        """Make the service; ``start`` begins."""
        self.runtime = runtime
        self.pipeline = Pipeline(runtime.committer)
        self.admission = Admission(runtime.settings, runtime.journal, runtime.home.root)
        self.intake = Intake(runtime, self.pipeline, self.admission)
        self._kept = Threads("quarantine", workers=2, waiting=16)
        self._verdicts = Threads("verdicts", workers=2, waiting=8)
        self._started = False

    @property
    def name(self) -> str:
        """Return ``ingest``."""
        return SERVICE

    def compile(self, snapshot: Snapshot, previous: Any | None) -> Catalog:
        """Return the compiled datasets of a snapshot."""
        return compile_catalog(snapshot, previous if isinstance(previous, Catalog) else None)

    def router(self) -> APIRouter:
        """Return the documented routes."""
        return make_router(self.runtime, self.intake, self._kept, self._verdicts)

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return the raw handlers that spare a request the way through FastAPI."""
        return {("POST", ROWS): self.intake.ingest, ("POST", VALIDATE): self.intake.validate}

    def internal_router(self) -> APIRouter:
        """Return what control asks."""
        return make_internal_router(self.runtime, self._kept, self._verdicts)

    async def start(self) -> None:
        """Start the encoder thread and look at journal and disk."""
        await self.admission.start()
        self.pipeline.start()
        self._started = True

    async def stop(self) -> None:
        """Commit what waits, then stop."""
        self._started = False
        self._kept.close()
        self._verdicts.close()
        await self.pipeline.stop()
        await self.admission.stop()

    def problems(self) -> Sequence[str]:
        """Return why rows are not taken at present."""
        found = self.admission.problems()
        if self._started and not self.pipeline.is_running:
            found.append("the encoder thread has ended; restart the process")
        return found


def create(runtime: Runtime) -> IngestService:
    """Return the ingest service of a process."""
    return IngestService(runtime)
