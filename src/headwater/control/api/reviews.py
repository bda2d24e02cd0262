"""Review queues, their tasks and decisions."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page, take_sorted
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import ChangeIn, ReasonIn
from headwater.control.orgs.models import Environment, Membership
from headwater.control.reviews.actions import (
    archive_queue,
    assign_task,
    cancel_task,
    claim_next,
    claim_task,
    decide_task,
    release_task,
    renew_lease,
    restore_queue,
    retry_delivery,
    supersede_decision,
)
from headwater.control.reviews.decisions import verdicts_of
from headwater.control.reviews.models import ReviewDecision, ReviewQueue, ReviewTask
from headwater.control.reviews.queries import Standing, standings
from headwater.core.errors import HeadwaterError

router = Router(tags=["Reviews"])
Paging = Annotated[PageQuery, Query(...)]
REVIEW = "/{org}/projects/{project}/environments/{environment}/review"
TASK = REVIEW + "/tasks/{task}"


class StandingOut(Schema):
    """How a queue stands in an environment. ``problem`` is why it could not be fed last."""

    waiting: int
    claimed: int
    escalated: int
    overdue: int
    undelivered: int
    failed: int
    oldest_at: datetime | None
    next_due_at: datetime | None
    problem: str


class QueueOut(Schema):
    """A review queue."""

    id: str
    key: str
    title: str
    source: str
    subject: str
    condition: str
    required_decisions: int
    four_eyes: bool
    lease_seconds: int
    sla_seconds: int
    escalate_to: str
    verdicts: list[str]
    form: dict[str, Any] | None
    archived_at: datetime | None
    revision: int
    standing: StandingOut

    @classmethod
    def show(cls, row: ReviewQueue, standing: Standing) -> QueueOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, key=row.key, title=row.title, source=row.source, subject=row.subject,
            condition=row.condition, required_decisions=row.required_decisions, four_eyes=row.four_eyes,
            lease_seconds=row.lease_seconds, sla_seconds=row.sla_seconds, escalate_to=row.escalate_to,
            verdicts=verdicts_of(row), form=row.form.spec if row.form else None, archived_at=row.archived_at,
            revision=row.revision, standing=StandingOut.from_orm(standing),
        )  # fmt: skip


class DecisionOut(Schema):
    """One reviewer's word."""

    id: str
    reviewer: str
    verdict: str
    answers: dict[str, Any]
    changes: dict[str, Any]
    comment: str
    supersedes: str | None
    created_at: datetime

    @classmethod
    def show(cls, row: ReviewDecision) -> DecisionOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, reviewer=row.reviewer_label, verdict=row.verdict, answers=row.answers,
            changes=row.changes, comment=row.comment, created_at=row.created_at,
            supersedes=row.supersedes.public_id if row.supersedes else None,
        )  # fmt: skip


class TaskOut(Schema):
    """A task without what it shows."""

    id: str
    queue: str
    title: str
    state: str
    priority: int
    due_at: datetime
    created_at: datetime
    escalated_because: str
    lease_owner: str | None
    lease_expires_at: datetime | None
    assignee: str | None
    verdict: str | None
    delivery: str
    revision: int

    @classmethod
    def members(cls, row: ReviewTask) -> dict[str, Any]:
        """Return the members of a task's answer."""
        is_leased = row.is_leased()
        return {
            "id": row.public_id, "queue": row.queue.key, "title": row.title, "state": row.state,
            "priority": row.priority, "due_at": row.due_at, "created_at": row.created_at,
            "escalated_because": row.escalated_because, "lease_owner": row.lease_owner_label if is_leased else None,
            "lease_expires_at": row.lease_expires_at if is_leased else None, "assignee": row.assignee_label or None,
            "verdict": row.verdict or None, "delivery": row.delivery, "revision": row.revision,
        }  # fmt: skip

    @classmethod
    def show(cls, row: ReviewTask) -> TaskOut:
        """Return what the API says about ``row``."""
        return cls(**cls.members(row))


class TaskDetailOut(TaskOut):
    """A task with what it shows, its form, what was said about it, and what became of that."""

    payload: dict[str, Any]
    payload_sha256: str
    form: dict[str, Any] | None
    verdicts: list[str]
    decisions: list[DecisionOut]
    delivery_result: dict[str, Any]

    @classmethod
    def detail(cls, row: ReviewTask) -> TaskDetailOut:
        """Return all that the API says about ``row``."""
        words = ReviewDecision.objects.for_org(row.org_id).filter(task=row).select_related("supersedes")
        return cls(
            **cls.members(row), payload=row.payload, payload_sha256=row.payload_sha256,
            form=row.form.spec if row.form else None, verdicts=verdicts_of(row.queue),
            decisions=[DecisionOut.show(word) for word in words.order_by("created_at")],
            delivery_result=row.delivery_result,
        )  # fmt: skip


class TasksQuery(PageQuery):
    """Which tasks are asked for."""

    queue: str | None = Field(None, max_length=63)
    state: str | None = Field(None, max_length=10, description="open, claimed, decided, escalated, …")
    mine: bool = Field(False, description="Only those that the caller holds")


class ClaimIn(Schema):
    """From which queue the most urgent task is claimed."""

    queue: str = Field(max_length=63)


class DecisionIn(Schema):
    """What a reviewer says. ``supersede`` corrects what the same reviewer said before."""

    verdict: str = Field(max_length=12)
    answers: dict[str, Any] = Field({}, description="To the queue's form")
    changes: dict[str, Any] = Field({}, description="For the verdict correct: values by field")
    comment: str = Field("", max_length=2_000)
    supersede: bool = False
    revision: int | None = Field(None, description="The revision last seen; another one answers 409")


class AssignIn(ChangeIn):
    """For whom a task is set aside; null: for anybody."""

    email: str | None = Field(None, max_length=254)


@router.get(REVIEW + "/queues", response=Page[QueueOut])
def list_queues(request: HttpRequest, org: str, project: str, environment: str, page: Paging) -> Page[QueueOut]:
    """List the review queues of a project with how they stand in an environment."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("review.read", home)
    rows = ReviewQueue.objects.for_org(home.org_id).filter(project=home.project).select_related("form", "project")
    queues = [queue for queue in rows if queue.watches(home)]
    found = standings(queues, home)
    return take_sorted(queues, page, lambda queue: QueueOut.show(queue, found[queue.pk]), key=lambda queue: queue.key)


@router.get(REVIEW + "/queues/{queue}", response=QueueOut)
def get_queue(request: HttpRequest, org: str, project: str, environment: str, queue: str) -> QueueOut:
    """Show one review queue and how it stands in an environment."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    row = _queue(caller, home, queue)
    return QueueOut.show(row, standings([row], home)[row.pk])


@router.post(REVIEW + "/queues/{queue}/archive", response=QueueOut)
def post_archive_queue(
    request: HttpRequest, org: str, project: str, environment: str, queue: str, body: ChangeIn
) -> QueueOut:
    """Feed a queue no more; what waits in it can still be decided."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    row = _queue(caller, home, queue)
    check_revision(request, row, body.revision)
    row = archive_queue(actor=caller.actor, queue=row, reason=body.reason)
    return QueueOut.show(row, standings([row], home)[row.pk])


@router.post(REVIEW + "/queues/{queue}/restore", response=QueueOut)
def post_restore_queue(
    request: HttpRequest, org: str, project: str, environment: str, queue: str, body: ChangeIn
) -> QueueOut:
    """Feed an archived queue again."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    row = _queue(caller, home, queue)
    check_revision(request, row, body.revision)
    row = restore_queue(actor=caller.actor, queue=row, reason=body.reason)
    return QueueOut.show(row, standings([row], home)[row.pk])


@router.get(REVIEW + "/tasks", response=Page[TaskOut])
def list_tasks(
    request: HttpRequest, org: str, project: str, environment: str, query: Annotated[TasksQuery, Query(...)]
) -> Page[TaskOut]:
    """List review tasks, newest first."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    rows = ReviewTask.objects.for_org(home.org_id).filter(environment=home).select_related("queue").defer("payload")
    if query.queue is not None:
        rows = rows.filter(queue=_queue(caller, home, query.queue))
    else:
        caller.need("review.read", home)
    if query.state is not None:
        rows = rows.filter(state=query.state)
    if query.mine:
        rows = rows.filter(state=ReviewTask.State.CLAIMED, lease_owner_id=caller.actor.id)
    return take_page(rows, query, TaskOut.show, newest_first=True)


@router.post(REVIEW + "/claim", response={200: TaskDetailOut, 204: None})
def post_claim_next(
    request: HttpRequest, org: str, project: str, environment: str, body: ClaimIn
) -> Status[TaskDetailOut | None]:
    """Claim the most urgent task of a queue that the caller may decide; 204 when there is none."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    row = claim_next(actor=caller.actor, queue=_queue(caller, home, body.queue), environment=home)
    return Status(204, None) if row is None else Status(200, TaskDetailOut.detail(row))


@router.get(TASK, response=TaskDetailOut)
def get_task(request: HttpRequest, org: str, project: str, environment: str, task: str) -> TaskDetailOut:
    """Show one review task."""
    return TaskDetailOut.detail(_task(request, org, project, environment, task)[1])


@router.post(TASK + "/claim", response=TaskDetailOut)
def post_claim(request: HttpRequest, org: str, project: str, environment: str, task: str) -> TaskDetailOut:
    """Claim a task, or hold it for longer if it is the caller's."""
    caller, row = _task(request, org, project, environment, task)
    return TaskDetailOut.detail(claim_task(actor=caller.actor, task=row))


@router.post(TASK + "/renew", response=TaskOut)
def post_renew(request: HttpRequest, org: str, project: str, environment: str, task: str) -> TaskOut:
    """Hold a claimed task for longer."""
    caller, row = _task(request, org, project, environment, task)
    return TaskOut.show(renew_lease(actor=caller.actor, task=row))


@router.post(TASK + "/release", response=TaskOut)
def post_release(request: HttpRequest, org: str, project: str, environment: str, task: str, body: ReasonIn) -> TaskOut:
    """Give a claimed task back undecided."""
    caller, row = _task(request, org, project, environment, task)
    return TaskOut.show(release_task(actor=caller.actor, task=row, reason=body.reason))


@router.post(TASK + "/assign", response=TaskOut)
def post_assign(request: HttpRequest, org: str, project: str, environment: str, task: str, body: AssignIn) -> TaskOut:
    """Set a task aside for one member."""
    caller, row = _task(request, org, project, environment, task)
    check_revision(request, row, body.revision)
    member = None
    if body.email is not None:
        member = Membership.objects.for_org(row.org_id).filter(user__email=body.email.lower()).first()
        if member is None:
            raise HeadwaterError("not_found", "there is no such member")
    return TaskOut.show(assign_task(actor=caller.actor, task=row, member=member, reason=body.reason))


@router.post(TASK + "/cancel", response=TaskOut)
def post_cancel(request: HttpRequest, org: str, project: str, environment: str, task: str, body: ChangeIn) -> TaskOut:
    """Close a task without a verdict."""
    caller, row = _task(request, org, project, environment, task)
    check_revision(request, row, body.revision)
    return TaskOut.show(cancel_task(actor=caller.actor, task=row, reason=body.reason))


@router.post(TASK + "/decide", response=TaskDetailOut)
def post_decide(
    request: HttpRequest, org: str, project: str, environment: str, task: str, body: DecisionIn
) -> TaskDetailOut:
    """Say what is to become of a task that the caller holds; saying the same again changes nothing."""
    caller, row = _task(request, org, project, environment, task)
    # Who holds the task may have renewed the lease meanwhile, which steps its revision and changes nothing else.
    if row.lease_owner_id != caller.actor.id:
        check_revision(request, row, body.revision)
    say = supersede_decision if body.supersede else decide_task
    say(
        actor=caller.actor, task=row, verdict=body.verdict, answers=body.answers, changes=body.changes,
        comment=body.comment,
    )  # fmt: skip
    row.refresh_from_db()
    return TaskDetailOut.detail(row)


@router.post(TASK + "/retry", response=TaskOut)
def post_retry(request: HttpRequest, org: str, project: str, environment: str, task: str) -> TaskOut:
    """Carry out a verdict again that could not be carried out."""
    caller, row = _task(request, org, project, environment, task)
    return TaskOut.show(retry_delivery(actor=caller.actor, task=row))


def _queue(caller: Caller, home: Environment, key: str) -> ReviewQueue:
    rows = ReviewQueue.objects.for_org(home.org_id).filter(project_id=home.project_id, key=key)
    found: ReviewQueue | None = rows.select_related("project", "form").first()
    if found is None or not found.watches(home):
        raise HeadwaterError("not_found", f"there is no review queue {key[:80]!r}")
    caller.need("review.read", found)
    return found


def _task(request: HttpRequest, org: str, project: str, environment: str, task: str) -> tuple[Caller, ReviewTask]:
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    rows = ReviewTask.objects.for_org(home.org_id).filter(environment=home, pk=ReviewTask.parse_id(task))
    found: ReviewTask | None = rows.select_related("queue__project", "environment__project", "form").first()
    if found is None:
        raise HeadwaterError("not_found", f"there is no review task {task[:80]!r}")
    caller.need("review.read", found)
    return caller, found
