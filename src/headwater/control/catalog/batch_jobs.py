"""Batch jobs of an environment as somebody may see them, and cancelling one. The services keep them; control asks."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from headwater.control.access.authority import Scope, authorize
from headwater.control.access.viewing import viewer_spec
from headwater.control.catalog.data_plane import Answer, connect
from headwater.control.kit.actions import Actor, action, note
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

ACTIVE: Final = ("queued", "running")
T = TypeVar("T")
_ID: Final = re.compile(r"job_[0-9A-Z]{26}")


class Progress(Answer):
    """How far a job is, in rows."""

    done: int = 0
    total: int = 0


class JobStatus(Answer):
    """A batch job as it stands; the services' `GET /v1/jobs/{job}` says what the members mean."""

    job: str
    kind: str
    state: str
    model: str
    version: int
    dataset: str
    output: str
    output_version: int | None = None
    progress: Progress = Progress()
    counts: dict[str, int] = Field(default_factory=dict)
    attempts: int = 0
    cancelling: bool = False
    error: dict[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    retry_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Return whether it may get on still."""
        return self.state in ACTIVE

    @property
    def seconds(self) -> float | None:
        """Return how long it took; None while it runs, or when it never began."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job as the audit log names it."""

    public_id: str
    tenant_id: uuid.UUID
    audit_kind: ClassVar[str] = "catalog.job"

    def __str__(self) -> str:
        return self.public_id


def jobs_of(subject: Any, environment: Environment, *, limit: int = 50) -> Sequence[JobStatus]:
    """Return the newest jobs that a user or key could have started; raises ``services_unavailable``."""
    body = _ask(subject, environment, "jobs", {"limit": str(limit)})
    return _read(list[JobStatus], body.get("jobs"))


def job_of(subject: Any, environment: Environment, job: str) -> JobStatus:
    """Return one of them; raises ``job_not_found``, ``services_unavailable``."""
    return _read(JobStatus, _ask(subject, environment, f"jobs/{_checked(job)}", {}))


def cancel_job(*, actor: Actor, environment: Environment, job: str, reason: str = "") -> JobStatus:
    """Cancel a job: it ends after the rows at hand, and what it has written stays.

    The request is in the audit log before the services are asked, so that what they did is never untold.

    Raises:
        HeadwaterError: ``job_not_found``, ``conflict`` for one that has ended otherwise, ``forbidden``,
            ``services_unavailable``: ask again, cancelling twice is cancelling once.
    """
    found = job_of(actor.subject, environment, job)
    scope = Scope(environment.org_id, environment.project_id, environment.pk, f"model:{found.model}")
    authorize(actor, "model.invoke", scope)
    if not found.is_active and found.state != "cancelled":
        raise HeadwaterError("conflict", f"job {job} has {found.state}; there is nothing to cancel")
    _request_cancel(actor=actor, scope=scope, job=found, reason=reason)
    return _read(JobStatus, _ask(actor.subject, environment, f"jobs/{_checked(job)}/cancel", {}))


@action("catalog.job.cancel_requested", permission="model.invoke", on="scope")
def _request_cancel(*, actor: Actor, scope: Scope, job: JobStatus, reason: str = "") -> None:  # noqa: ARG001
    done = f"{job.progress.done} of {job.progress.total} rows"
    note(JobRef(job.job, scope.org_id), requested="cancel", model=job.model, dataset=job.dataset, done=done)


def _ask(subject: Any, environment: Environment, path: str, parameters: dict[str, str]) -> dict[str, Any]:
    with connect() as services:
        return services.view(environment.public_id, path, viewer_spec(subject, environment), parameters)


def _checked(job: str) -> str:
    if not _ID.fullmatch(job):
        raise HeadwaterError("job_not_found", f"there is no job {job[:40]!r}", hint="they are kept for 30 days")
    return job


def _read(shape: type[T], body: Any) -> T:
    try:
        return TypeAdapter(shape).validate_python(body)
    except ValidationError as error:
        raise HeadwaterError("services_unavailable", "the services' answer is no job") from error
