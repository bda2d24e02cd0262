"""``POST /v1/models/{model}/batch``, ``…/versions/{version}/batch`` and ``/v1/jobs``.

Services only write the job down and tell how it is; the worker has somebody do it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from headwater.core.errors import PROBLEMS, HeadwaterError
from headwater.core.ids import new_id
from headwater.core.jobs import BATCH_SCORE, BatchScore
from headwater.core.logging import get_logger
from headwater.core.streams import batch_log, stream_name
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import Job, JobStore, Keyed, NewJob, State
from headwater.services.inference.batch_planning import BatchIn, choose_version, find_source, plan_batch
from headwater.services.inference.pipeline import find_model
from headwater.services.kit.idempotency import parse_key
from headwater.services.kit.request import authenticate, context_of, document_of, find_header, read_document
from headwater.services.kit.service import Caller, Runtime
from headwater.services.kit.threads import Threads

T = TypeVar("T")
MOST_WAITING: Final = 100
MOST_LISTED: Final = 200
#: Their details say where things lie on this machine; the worker's log has them.
_WITH_PLACES: Final = frozenset({"journal_unavailable", "storage_exhausted", "services_unavailable", "internal"})

_log = get_logger(__name__)


class JobStarted(BaseModel):
    """The answer to a request for a job."""

    job: str = Field(description="Names the job")
    status_url: str


class JobProgress(BaseModel):
    """How far a job is, in rows of the dataset."""

    done: int
    total: int


class JobCounts(BaseModel):
    """What became of the rows that are done."""

    scored: int
    failed: int = Field(description="Written without outputs, with what is wrong in error")
    skipped: int = Field(description="Not meant by where, since and until")


class JobOut(BaseModel):
    """A job as it stands."""

    job: str
    kind: Literal["batch_score"]
    state: State
    model: str
    version: int
    dataset: str
    dataset_version: int | None = Field(description="The version of the table whose rows are scored; null: no rows")
    output: str = Field(description="The dataset with the predictions")
    output_version: int | None = Field(description="The version of that table that has them all, once it does")
    progress: JobProgress
    counts: JobCounts
    attempts: int = Field(description="Since it last got on")
    cancelling: bool = Field(description="It was cancelled and ends after the rows at hand")
    error: dict[str, Any] | None = Field(description="Why it failed, or what kept the last attempt from going on")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retry_at: datetime | None = Field(description="When it is tried again, while it waits")


class JobsOut(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobOut]


class BatchDesk:
    """Takes requests for batch jobs and tells how they are."""

    def __init__(self, runtime: Runtime, service: str) -> None:
        """Serve the models that ``service`` compiled."""
        self._runtime = runtime
        self._service = service
        self._threads = Threads("jobs", workers=2, waiting=64)
        self._opening = threading.Lock()
        self._store: JobStore | None = None

    def router(self) -> APIRouter:
        """Return the routes."""
        return _router(self)

    def close(self) -> None:
        """Release the queue."""
        self._threads.close()
        if self._store is not None:
            self._store.close()

    def caller(self, request: Request) -> Caller:
        """Return whose key a request carries; raises ``unauthenticated``."""
        return authenticate(self._runtime, request.scope)

    async def start(self, request: Request, model: str, pinned: str | None) -> Response:
        """Write a job down and answer 202."""
        caller = self.caller(request)
        header = find_header(dict(request.scope), b"idempotency-key")
        key = None if header is None else parse_key(header)
        asked = await read_document(request, BatchIn)
        keyed = None if key is None else _keyed(caller, key, model, pinned, asked)
        if keyed is not None:
            earlier = await self._earlier(keyed)
            # What was asked for then is not held against what there is now.
            if earlier is not None and _may_see(caller, earlier):
                return _started(earlier, is_new=False)
        served = find_model(caller, self._service, model, "model.invoke")
        version = choose_version(served, pinned)
        source = find_source(caller, asked.dataset, self._runtime.clock.now())
        stream = stream_name(caller.environment.id, source.name)
        request_id = context_of(request.scope).request_id

        def add(store: JobStore) -> tuple[Job, bool]:
            state = self._runtime.lake.state(stream)
            task = plan_batch(
                asked,
                caller=caller,
                model=served,
                version=version,
                source=source,
                state=state,
                find_state=lambda name: self._runtime.lake.state(stream_name(caller.environment.id, name)),
                request_id=request_id,
            )
            return store.add(_new_job(task, 0 if state is None else state.rows), keyed, most_waiting=MOST_WAITING)

        job, is_new = await self._with_store(add)
        if is_new:
            _log.info("job_queued", job=job.new.id, model=model, dataset=source.name, rows=job.new.total)
        return _started(job, is_new=is_new)

    async def find(self, caller: Caller, job_id: str) -> JobOut:
        """Return a job that the caller may see; raises ``job_not_found``."""
        return await self._show(await self._visible(caller, job_id))

    async def list(self, caller: Caller, limit: int) -> JobsOut:
        """Return the newest jobs that the caller may see."""
        jobs = await self._with_store(lambda store: store.recent(caller.environment.id, limit=MOST_LISTED))
        shown = [job for job in jobs if _may_see(caller, job)][:limit]
        return JobsOut(jobs=[await self._show(job) for job in shown])

    async def cancel(self, caller: Caller, job_id: str) -> JobOut:
        """Cancel a job and return it; raises ``conflict`` for one that is finished otherwise."""
        environment_id = caller.environment.id
        job = await self._visible(caller, job_id)
        if not job.state.is_final:
            now_us = time.time_ns() // 1_000

            def cancel(store: JobStore) -> Job | None:
                return store.cancel(environment_id, job_id, now_us=now_us)

            changed = await self._with_store(cancel)
            job = changed or job
            _log.info("job_cancel_asked", job=job_id, principal=caller.key.principal_id)
        if job.state in (State.SUCCEEDED, State.FAILED):
            raise HeadwaterError("conflict", f"job {job_id} has {job.state}; there is nothing to cancel")
        return await self._show(job)

    async def _earlier(self, keyed: Keyed) -> Job | None:
        def find(store: JobStore) -> Job | None:
            return store.find_keyed(keyed)

        return await self._with_store(find)

    async def _visible(self, caller: Caller, job_id: str) -> Job:
        """Return a job that the caller may see."""

        def find(store: JobStore) -> Job | None:
            return store.find(caller.environment.id, job_id)

        job = await self._with_store(find)
        if job is None or not _may_see(caller, job):
            raise HeadwaterError(
                "job_not_found", f"there is no job {job_id[:40]!r}", hint="finished jobs are kept for 30 days"
            )
        return job

    async def _show(self, job: Job) -> JobOut:
        last_seq = job.progress.position.get("last_seq", 0)
        stream = stream_name(job.new.environment_id, batch_log(job.new.subject))
        output_version: int | None = None
        if job.state.is_final and last_seq:
            seal = await self._threads.run(lambda: self._runtime.journal.find_seal(stream, last_seq))
            output_version = None if seal is None else seal.table_version
        return _out(job, output_version)

    async def _with_store(self, ask: Callable[[JobStore], T]) -> T:
        return await self._threads.run(lambda: ask(self._open()))

    def _open(self) -> JobStore:
        with self._opening:
            if self._store is None:
                self._store = open_queue(self._runtime.settings)
            return self._store


def _router(desk: BatchDesk) -> APIRouter:
    router = APIRouter(tags=["jobs"])
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": 255},
        "description": "The same key and request again return the same job",
    }
    extra = {**document_of(BatchIn), "parameters": [key]}

    @router.post("/v1/models/{model}/batch", response_model=JobStarted, status_code=202, openapi_extra=extra)
    async def score(request: Request, model: str) -> Response:
        """Have the model look at the rows of a dataset."""
        return await desk.start(request, model, None)

    @router.post(
        "/v1/models/{model}/versions/{version}/batch", response_model=JobStarted, status_code=202, openapi_extra=extra
    )
    async def score_by_version(request: Request, model: str, version: str) -> Response:
        """Have one version of the model look at the rows of a dataset."""
        return await desk.start(request, model, version)

    @router.get("/v1/jobs", response_model=JobsOut)
    async def list_jobs(request: Request, limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50) -> JobsOut:
        """List the newest jobs that the key may see; finished ones are kept for 30 days."""
        return await desk.list(desk.caller(request), limit)

    @router.get("/v1/jobs/{job}", response_model=JobOut)
    async def get_job(request: Request, job: str) -> JobOut:
        """Return a job: how far it is, what became of its rows, why it failed."""
        return await desk.find(desk.caller(request), job)

    @router.delete("/v1/jobs/{job}", response_model=JobOut)
    async def cancel_job(request: Request, job: str) -> JobOut:
        """Cancel a job; what it has written stays."""
        return await desk.cancel(desk.caller(request), job)

    return router


def _new_job(task: BatchScore, total: int) -> NewJob:
    return NewJob(
        id=new_id("job"),
        kind=BATCH_SCORE,
        environment_id=task.environment_id,
        subject=task.model,
        principal_id=task.principal_id,
        payload=task.model_dump_json().encode(),
        total=total,
        created_us=time.time_ns() // 1_000,
    )


def _started(job: Job, *, is_new: bool) -> Response:
    url = f"/v1/jobs/{job.new.id}"
    body = JobStarted(job=job.new.id, status_url=url).model_dump_json()
    headers = {"location": url} | ({} if is_new else {"idempotency-replayed": "true"})
    return Response(body, 202, headers, media_type="application/json")


def _keyed(caller: Caller, key: bytes, model: str, pinned: str | None, asked: BatchIn) -> Keyed:
    scope = f"{caller.environment.id}\0{caller.key.principal_id}\0{BATCH_SCORE}\0".encode() + key
    # What was asked for before there was such a member is the same request still.
    unsaid = {"as_of"} if asked.as_of is None else set[str]()
    content = f"{model}\0{pinned}\0{asked.model_dump_json(exclude=unsaid)}".encode()
    return Keyed(hashlib.blake2b(scope, digest_size=32).digest(), hashlib.blake2b(content, digest_size=32).digest())


def _may_see(caller: Caller, job: Job) -> bool:
    """Return whether the caller could have started this job."""
    if job.new.kind != BATCH_SCORE or not caller.key.can("model.invoke", job.new.subject):
        return False
    return caller.key.can("dataset.read", _task(job).dataset)


def _task(job: Job) -> BatchScore:
    return BatchScore.model_validate_json(job.new.payload)


def _out(job: Job, output_version: int | None) -> JobOut:
    task, counts = _task(job), job.progress.counts
    return JobOut(
        job=job.new.id,
        kind="batch_score",
        state=job.state,
        model=task.model,
        version=task.version.number,
        dataset=task.dataset,
        dataset_version=task.dataset_version,
        output=batch_log(task.model),
        output_version=output_version,
        progress=JobProgress(done=job.progress.done, total=job.new.total),
        counts=JobCounts(**{name: counts.get(name, 0) for name in JobCounts.model_fields}),
        attempts=job.attempts,
        cancelling=job.is_cancelling and not job.state.is_final,
        error=_public(job.error),
        created_at=_at(job.new.created_us),
        started_at=None if job.started_us is None else _at(job.started_us),
        finished_at=None if job.finished_us is None else _at(job.finished_us),
        retry_at=None if job.retry_us is None or not job.attempts else _at(job.retry_us),
    )


def _public(error: Any) -> dict[str, Any] | None:
    if error is None:
        return None
    if error["code"] in _WITH_PLACES:
        problem = PROBLEMS[error["code"]]
        return {"code": error["code"], "detail": problem.title, "hint": "the worker's log says more"}
    return dict(error)


def _at(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)
