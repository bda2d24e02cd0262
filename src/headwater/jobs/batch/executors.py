"""Who scores the chunks of a job: this process, or the processes and machines of a Ray cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.core.jobs import BatchScore
from headwater.core.settings import Settings
from headwater.engines.blobs import open_blobs
from headwater.jobs.batch.chunk import ChunkScorer
from headwater.jobs.batch.output import Answer


class ChunkExecutor(Protocol):
    """Scores chunks of one job. What it answers is written by who asked: it may be asked twice, or be killed."""

    @property
    def at_once(self) -> int:
        """Return how many chunks it wants to be asked for at a time."""
        ...

    async def score(self, rows: pa.Table) -> Answer:
        """Return the predictions of a chunk; when cancelled, whoever works on it stops.

        Raises:
            HeadwaterError: what is wrong with a row or the model; with ``retry_after_seconds`` where trying again may
                help.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; chunks that are not answered yet must have been cancelled."""
        ...


class LocalChunks:
    """One chunk after the other, in this process; the model is loaded for the first."""

    at_once = 1

    def __init__(self, job_id: str, task: BatchScore, settings: Settings, beat: Callable[[], None]) -> None:
        """Score for a job; ``beat`` is called between runs of the model."""
        self._job_id = job_id
        self._task = task
        self._settings = settings
        self._beat = beat
        self._scorer: ChunkScorer | None = None

    async def score(self, rows: pa.Table) -> Answer:
        """Return the predictions of a chunk."""
        if self._scorer is None:
            artifact = artifact_of(self._task, self._settings)
            inference = self._settings.inference
            self._scorer = await asyncio.to_thread(ChunkScorer, self._job_id, self._task, artifact, inference)
        return await self._scorer.score(rows, self._beat)

    async def close(self) -> None:
        """Let go of the model."""
        scorer, self._scorer = self._scorer, None
        if scorer is not None:
            await asyncio.to_thread(scorer.close)


def open_chunks(job_id: str, task: BatchScore, settings: Settings, beat: Callable[[], None]) -> ChunkExecutor:
    """Return who the settings say scores the chunks of a job.

    Raises:
        HeadwaterError: ``setting_invalid`` when Ray is asked for and not installed, ``services_unavailable`` when its
            cluster does not answer.
    """
    if settings.batch.executor == "local":
        return LocalChunks(job_id, task, settings, beat)
    from headwater.jobs.batch.ray_cluster import require_ray  # noqa: PLC0415 - an extra

    require_ray()
    from headwater.jobs.batch.ray_chunks import RayChunks  # noqa: PLC0415

    return RayChunks(job_id, task, settings)


def artifact_of(task: BatchScore, settings: Settings) -> Path | None:
    """Return the verified file of a job's model, None for one that runs on another server."""
    if task.version.framework == "remote":
        return None
    return open_blobs(settings).path(task.version.artifact_sha256)


def lost(detail: str) -> HeadwaterError:
    """Return the error for chunks whose processes are gone; the job is tried again."""
    return HeadwaterError(
        "services_unavailable",
        f"the Ray cluster does not score: {detail}",
        hint='look at the cluster with `ray status`, or set batch.executor = "local"',
        retry_after_seconds=10,
    )
