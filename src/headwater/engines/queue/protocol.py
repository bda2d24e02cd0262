"""What a job queue promises, whatever keeps it.

A job is claimed by one worker at a time, under a lease that its worker prolongs as it goes on. A worker that dies lets
its lease run out, and the next one resumes where the last progress was noted; whoever comes back with a lease that is
lost is told so and changes nothing. A job that goes nowhere ``MAX_ATTEMPTS`` times in a row is dead: it has failed, and
says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

MAX_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 300.0


class State(StrEnum):
    """Where a job stands; the last three are for good."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Return whether nothing will change any more."""
        return self not in (State.QUEUED, State.RUNNING)


class Held(StrEnum):
    """What a worker is told when it prolongs its lease."""

    KEPT = "kept"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is asked for. ``subject`` is the resource that decides who may see it; ``total`` its size in rows."""

    id: str
    kind: str
    environment_id: str
    subject: str
    principal_id: str
    payload: bytes
    total: int
    created_us: int


@dataclass(frozen=True, slots=True)
class Keyed:
    """The idempotency key of a request for a job: what the key is unique within, and what must be the same."""

    scope: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: rows, what became of them, and where to resume (whatever its kind wants to know)."""

    done: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    position: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the queue has it. ``attempts`` are those since it last got on; instants are epoch microseconds."""

    new: NewJob
    state: State
    progress: Progress
    attempts: int
    is_cancelling: bool
    error: Mapping[str, Any] | None
    started_us: int | None
    finished_us: int | None
    retry_us: int | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a job until the lease runs out."""

    job: Job
    lease: str


def pause_seconds(attempts: int) -> float:
    """Return how long a job rests after so many attempts that led nowhere."""
    return min(_FIRST_PAUSE_SECONDS * 2.0 ** (attempts - 1), _LONGEST_PAUSE_SECONDS)


class JobStore(Protocol):
    """A durable queue. Safe to use from several threads and several processes."""

    def add(self, job: NewJob, keyed: Keyed | None = None, *, most_waiting: int) -> tuple[Job, bool]:
        """Queue a job; return it, and whether it is new: with the key of an earlier one, that one is returned.

        Raises:
            HeadwaterError: ``idempotency_key_reused`` when the earlier one was asked for differently,
                ``rate_limited`` when its environment has ``most_waiting`` jobs that are not finished.
        """
        ...

    def find_keyed(self, keyed: Keyed) -> Job | None:
        """Return the job that was asked for with a key; raises ``idempotency_key_reused`` as ``add`` does."""
        ...

    def find(self, environment_id: str, job_id: str) -> Job | None:
        """Return a job of an environment."""
        ...

    def recent(self, environment_id: str, *, limit: int) -> Sequence[Job]:
        """Return the newest jobs of an environment, newest first."""
        ...

    def cancel(self, environment_id: str, job_id: str, *, now_us: int) -> Job | None:
        """Cancel a job: at once unless somebody works on it, who is told; one that is finished stays as it is."""
        ...

    def is_due(self, now_us: int) -> bool:
        """Return whether a claim would find a job."""
        ...

    def claim(self, *, now_us: int, lease_us: int) -> Claim | None:
        """Take the job that is due longest, None when there is none.

        A job whose worker has died as often as it may is marked as failed instead.
        """
        ...

    def keep(self, claim: Claim, progress: Progress | None = None, *, now_us: int, lease_us: int) -> Held:
        """Prolong a lease and note progress, which also forgives earlier attempts."""
        ...

    def finish(
        self,
        claim: Claim,
        state: Literal[State.SUCCEEDED, State.FAILED, State.CANCELLED],
        *,
        now_us: int,
        error: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a job; return False when the lease was lost."""
        ...

    def put_back(self, claim: Claim, *, now_us: int, error: Mapping[str, Any] | None = None) -> State:
        """Let a job be claimed again: at once, or with an error after a pause. Returns what became of it.

        With an error that was the last allowed attempt, the job has failed.
        """
        ...

    def prune(self, *, finished_before_us: int) -> int:
        """Forget jobs that finished before this; return how many."""
        ...

    def close(self) -> None:
        """Release the queue; everything in it stays."""
        ...
