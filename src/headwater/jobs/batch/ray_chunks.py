"""Chunks as Ray tasks: on every process and machine of a cluster, several at a time.

A task is given rows and returns predictions; it writes nothing. Tables are read and predictions are made durable by the
process that works the job off, chunk by chunk in their order. So a task that is lost with its process is simply done
again, by Ray, and nothing is ever there twice.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from headwater.core.errors import HeadwaterError
from headwater.core.jobs import BatchScore
from headwater.core.setting_sections import InferenceSettings
from headwater.core.settings import Settings
from headwater.engines.blobs.local import LocalBlobs
from headwater.jobs.batch.chunk import ChunkScorer
from headwater.jobs.batch.executors import artifact_of, lost
from headwater.jobs.batch.output import Answer
from headwater.jobs.batch.ray_cluster import RayCluster, connect

_RETRIES: Final = 3  # of a chunk whose process died under it
_AHEAD: Final = 2  # chunks for each processor: one that runs, one that is there already


class Job(msgspec.Struct, frozen=True):
    """What a task knows of its job. ``artifact`` is where the model's file lies where the job is worked off."""

    id: str
    task: bytes
    inference: bytes
    artifact: str | None


class Refusal(msgspec.Struct, frozen=True):
    """A ``HeadwaterError`` as it goes between processes."""

    code: str
    detail: str
    hint: str | None
    retry_after_seconds: int | None
    extra: dict[str, Any]

    @classmethod
    def of(cls, error: HeadwaterError) -> Refusal:
        """Return an error as data."""
        return cls(error.code, error.detail, error.hint, error.retry_after_seconds, error.extra)

    def error(self) -> HeadwaterError:
        """Return the error."""
        return HeadwaterError(
            self.code,
            self.detail,
            hint=self.hint,
            retry_after_seconds=self.retry_after_seconds,
            extra=self.extra,
        )


class RayChunks:
    """The ``ChunkExecutor`` of a cluster; it connects with the first chunk."""

    def __init__(self, job_id: str, task: BatchScore, settings: Settings) -> None:
        """Score for a job."""
        self._job_id = job_id
        self._task = task
        self._settings = settings
        self._cluster: RayCluster | None = None
        self._given: tuple[Any, Any] | None = None
        self._most = 1

    @property
    def at_once(self) -> int:
        """Return how many chunks are under way at most: enough that no processor waits for the next one."""
        self._connect()
        return self._most

    async def score(self, rows: pa.Table) -> Answer:
        """Return the predictions of a chunk."""
        job, artifact = self._connect()
        reference = _score_remotely.remote(job, [artifact], rows)
        try:
            found: Answer | Refusal = await reference
        except asyncio.CancelledError:
            ray.cancel(reference, force=True)
            raise
        except RayTaskError as error:
            raise lost(f"a task broke: {error.cause!r}"[:500]) from error
        except RayError as error:
            raise lost(f"{type(error).__name__}, {_RETRIES + 1} times on one chunk") from error
        if isinstance(found, Refusal):
            raise found.error()
        return found

    async def close(self) -> None:
        """Disconnect; a cluster of its own ends."""
        cluster, self._cluster, self._given = self._cluster, None, None
        if cluster is not None:
            await asyncio.to_thread(cluster.close)

    def _connect(self) -> tuple[Any, Any]:
        """Return references to the job and to its artifact, which each machine fetches once."""
        if self._given is None:
            path = artifact_of(self._task, self._settings)
            # Not in a thread: the processes of a cluster of its own end with the thread that started them.
            self._cluster = connect(self._settings.batch)
            self._most = self._settings.batch.chunks_at_once or _AHEAD * self._cluster.processors
            job = Job(
                self._job_id,
                self._task.model_dump_json().encode(),
                self._settings.inference.model_dump_json().encode(),
                None if path is None else str(path),
            )
            self._given = ray.put(job), ray.put(None if path is None else path.read_bytes())
        return self._given


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _score_remotely(job: Job, artifact: list[Any], rows: pa.Table) -> Answer | Refusal:
    """Score a chunk in a process of the cluster. ``artifact`` holds the reference to the model's bytes."""
    try:
        return _WORKER.score(job, lambda: ray.get(artifact[0]), rows)
    except HeadwaterError as error:
        return Refusal.of(error)


class _Worker:
    """What a process of the cluster keeps between tasks: the model of the last job."""

    def __init__(self) -> None:
        """Begin without."""
        self._runner = asyncio.Runner()
        self._job_id: str | None = None
        self._scorer: ChunkScorer | None = None

    def score(self, job: Job, fetch: Callable[[], bytes], rows: pa.Table) -> Answer:
        """Return the predictions of a chunk, with the model loaded for the first one of its job."""
        if self._job_id != job.id or self._scorer is None:
            self.close()
            self._scorer = self._runner.run(_load(job, fetch))
            self._job_id = job.id
        return self._runner.run(self._scorer.score(rows, _go_on))

    def close(self) -> None:
        """Let go of the model."""
        scorer, self._scorer = self._scorer, None
        if scorer is not None:
            self._runner.run(asyncio.to_thread(scorer.close))


async def _load(job: Job, fetch: Callable[[], bytes]) -> ChunkScorer:
    task = BatchScore.model_validate_json(job.task)
    path = None if job.artifact is None else _artifact(task, Path(job.artifact), fetch)
    settings = InferenceSettings.model_validate_json(job.inference)
    return await asyncio.to_thread(ChunkScorer, job.id, task, path, settings)


def _artifact(task: BatchScore, place: Path, fetch: Callable[[], bytes]) -> Path:
    """Return the model's verified file: the original where this machine sees it, else one that is kept by its hash."""
    sha256 = task.version.artifact_sha256
    with contextlib.suppress(HeadwaterError):
        return LocalBlobs(place.parents[1]).path(sha256)
    folder = Path(tempfile.gettempdir()) / f"headwater-artifacts-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise HeadwaterError("model_unavailable", f"{folder} belongs to somebody else", hint="delete it")
    blobs = LocalBlobs(folder)
    with contextlib.suppress(HeadwaterError):
        return blobs.path(sha256)
    blobs.put(fetch(), expected=sha256)
    return blobs.path(sha256)


def _go_on() -> None:
    """Do nothing between runs: who works the job off keeps its lease."""


_WORKER: Final = _Worker()
atexit.register(_WORKER.close)
