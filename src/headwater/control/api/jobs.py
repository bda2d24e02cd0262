"""Batch jobs of an environment: those that the caller could have started."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from headwater.control.api.auth import caller_of
from headwater.control.api.schemas import ReasonIn
from headwater.control.catalog.batch_jobs import JobStatus, cancel_job, job_of, jobs_of

router = Router(tags=["Jobs"])
JOBS = "/{org}/projects/{project}/environments/{environment}/jobs"


class JobProgressOut(Schema):
    """How far a job is, in rows."""

    done: int
    total: int


class JobOut(Schema):
    """A batch job as it stands."""

    job: str
    kind: str
    state: str = Field(examples=["running"])
    model: str
    version: int
    dataset: str
    output: str = Field(description="The dataset with the predictions")
    output_version: int | None
    progress: JobProgressOut
    counts: dict[str, int]
    attempts: int
    cancelling: bool
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retry_at: datetime | None

    @classmethod
    def show(cls, row: JobStatus) -> JobOut:
        """Return what the API says about a job."""
        return cls.model_validate(row.model_dump())


class JobsOut(Schema):
    """Jobs, newest first."""

    jobs: list[JobOut]


@router.get(JOBS, response=JobsOut)
def list_jobs(
    request: HttpRequest, org: str, project: str, environment: str, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> JobsOut:
    """List the newest batch jobs that you could have started; finished ones are kept for 30 days."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    found = jobs_of(caller.key or caller.actor.subject, home, limit=limit)
    return JobsOut(jobs=[JobOut.show(job) for job in found])


@router.get(JOBS + "/{job}", response=JobOut)
def get_job(request: HttpRequest, org: str, project: str, environment: str, job: str) -> JobOut:
    """Show a batch job: how far it is, what became of its rows, why it failed."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    return JobOut.show(job_of(caller.key or caller.actor.subject, home, job))


@router.post(JOBS + "/{job}/cancel", response=JobOut)
def post_cancel_job(request: HttpRequest, org: str, project: str, environment: str, job: str, body: ReasonIn) -> JobOut:
    """Cancel a batch job: it ends after the rows at hand, and what it has written stays."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    return JobOut.show(cancel_job(actor=caller.actor, environment=home, job=job, reason=body.reason))
