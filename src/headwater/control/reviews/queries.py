"""Finding queues and tasks, and how they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from headwater.control.access.authority import allowances_for, groups_of
from headwater.control.access.models import ApiKey
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.reviews.models import ReviewCursor, ReviewDecision, ReviewQueue, ReviewTask

State = ReviewTask.State
WAITING = (State.OPEN, State.CLAIMED, State.ESCALATED)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a queue stands in an environment."""

    waiting: int = 0
    claimed: int = 0
    escalated: int = 0
    overdue: int = 0
    undelivered: int = 0
    failed: int = 0
    oldest_at: datetime | None = None
    next_due_at: datetime | None = None
    problem: str = ""


def standings(queues: Sequence[ReviewQueue], environment: Environment) -> Mapping[Any, Standing]:
    """Return how queues stand, by their primary key, in three queries."""
    now = timezone.now()
    tasks = ReviewTask.objects.for_org(environment.org_id).filter(environment=environment, queue__in=queues)
    by_queue = tasks.order_by().values("queue_id")
    # Two questions: one with "or" would read every task that there ever was.
    waiting = by_queue.filter(state__in=WAITING).annotate(
        waiting=Count("id"),
        claimed=Count("id", filter=Q(state=State.CLAIMED, lease_expires_at__gt=now)),
        escalated=Count("id", filter=Q(escalated_at__isnull=False)),
        overdue=Count("id", filter=Q(due_at__lte=now)),
        oldest_at=Min("created_at"),
        next_due_at=Min("due_at"),
    )
    decided = by_queue.filter(delivery__in=("pending", "failed")).annotate(
        undelivered=Count("id", filter=Q(delivery="pending")), failed=Count("id", filter=Q(delivery="failed"))
    )
    problems = dict(
        ReviewCursor.objects.filter(queue__in=queues, environment=environment).values_list("queue_id", "problem")
    )
    found: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
    rows: list[dict[str, Any]] = [*waiting, *decided]
    for row in rows:
        found[row.pop("queue_id")].update(row)
    return {queue.pk: Standing(**found[queue.pk], problem=problems.get(queue.pk, "")) for queue in queues}


def claimable(actor: Actor, now: datetime) -> Q:
    """Return which tasks somebody may claim at ``now``, as far as the database can tell.

    Nobody else holds them, they are not set aside for somebody else, and the reviewer has not spoken yet.
    """
    free = Q(state__in=(State.OPEN, State.ESCALATED)) | Q(state=State.CLAIMED, lease_expires_at__lte=now)
    held = Q(state=State.CLAIMED, lease_owner_id=actor.id)
    unassigned = Q(assignee_id="") | Q(assignee_id=actor.id)
    spoke = ReviewDecision.unscoped.filter(task=OuterRef("pk"), reviewer_id=actor.id)
    return (free | held) & unassigned & ~Q(Exists(spoke))


def next_tasks(queue: ReviewQueue, environment: Environment) -> QuerySet[ReviewTask]:
    """Return the tasks that wait, the most urgent first: escalated, then by priority, then the oldest."""
    rows: QuerySet[ReviewTask] = ReviewTask.objects.for_org(queue.org_id).filter(
        queue=queue, environment=environment, state__in=WAITING
    )
    return rows.order_by("-priority", "id")


def live_decisions(task: ReviewTask) -> list[ReviewDecision]:
    """Return the decisions that no other one supersedes, in order."""
    rows = ReviewDecision.objects.for_org(task.org_id).filter(task=task, successor=None)
    return list(rows.order_by("created_at", "id"))


def refusal(actor: Actor, task: ReviewTask) -> str:
    """Return why somebody must not decide a task, whoever holds it; empty if nothing is against it."""
    if task.queue.four_eyes and actor.id in task.authors:
        return "it is about what you sent yourself; somebody else must look at it"
    if task.escalated_because == "disagreement" and not may_settle(actor, task):
        return f"reviewers disagree, and {task.queue.escalate_to} settles it"
    return ""


def may_settle(actor: Actor, task: ReviewTask) -> bool:
    """Return whether somebody is among those whom the queue escalates to; without any, every other reviewer is."""
    kind, _, name = task.queue.escalate_to.partition(":")
    subject = actor.subject
    if not name or actor.kind == "system" or getattr(subject, "is_superuser", False):
        return True
    if kind == "role":
        return name in allowances_for(subject, task.environment).roles
    principal = (subject.service_account or subject.user) if isinstance(subject, ApiKey) else subject
    return name in groups_of(principal, task.org_id)
