"""Leases: who looks at a task, and until when. Claiming is one conditional UPDATE, so one of many who try has it."""

# ruff: noqa: ARG001 - actor and reason are for the decorator

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import F
from django.utils import timezone

from headwater.control.access.authority import authorize
from headwater.control.kit.actions import Actor, action, bookkeeping, note
from headwater.control.orgs.models import Environment, Membership
from headwater.control.reviews.models import ReviewQueue, ReviewTask
from headwater.control.reviews.queries import claimable, next_tasks, refusal
from headwater.core.errors import HeadwaterError

State = ReviewTask.State
CANDIDATES: Final = 20
ROUNDS: Final = 10
FREE: Final = {"lease_owner_id": "", "lease_owner_label": "", "lease_expires_at": None}


@action("reviews.task.claimed", permission="review.decide", on="task")
def claim_task(*, actor: Actor, task: ReviewTask) -> ReviewTask:
    """Look at a task for as long as the queue's lease lasts; who holds it already holds it for longer.

    Raises:
        HeadwaterError: ``conflict`` when somebody else has it, it is set aside for somebody else, or it is over;
            ``forbidden`` when the reviewer must not decide it.
    """
    if why := refusal(actor, task):
        raise HeadwaterError("forbidden", why, hint="take another task")
    now = timezone.now()
    lease = now + timedelta(seconds=task.queue.lease_seconds)
    rows = ReviewTask.objects.for_org(task.org_id).filter(pk=task.pk, escalated_because=task.escalated_because)
    with bookkeeping():
        won = rows.filter(claimable(actor, now)).update(
            state=State.CLAIMED,
            lease_owner_id=actor.id,
            lease_owner_label=actor.label,
            lease_expires_at=lease,
            revision=F("revision") + 1,
        )
    task.refresh_from_db()
    if not won:
        raise HeadwaterError("conflict", _why_lost(task, actor), hint="take another task")
    note(task, claimed_by=actor.label, until=lease.isoformat())
    return task


def claim_next(*, actor: Actor, queue: ReviewQueue, environment: Environment) -> ReviewTask | None:
    """Claim the most urgent task of a queue that somebody may look at; None when there is none."""
    if actor.kind != "system":
        authorize(actor, "review.decide", queue)
    for _round in range(ROUNDS):
        waiting = next_tasks(queue, environment).filter(claimable(actor, timezone.now()))
        candidates = list(waiting.select_related("queue", "environment__project", "form")[:CANDIDATES])
        allowed = [task for task in candidates if not refusal(actor, task)]
        if not allowed:
            return None
        for task in allowed:
            try:
                return claim_task(actor=actor, task=task)
            except HeadwaterError as error:
                if error.code != "conflict":
                    raise
    return None


def renew_lease(*, actor: Actor, task: ReviewTask) -> ReviewTask:
    """Hold a task for longer. It is not audited: nothing is decided by it, and pages do it every minute.

    Raises:
        HeadwaterError: ``conflict`` when the lease is over; claim the task again.
    """
    if actor.kind != "system":
        authorize(actor, "review.decide", task)
    now = timezone.now()
    rows = ReviewTask.objects.for_org(task.org_id).filter(
        pk=task.pk, state=State.CLAIMED, lease_owner_id=actor.id, lease_expires_at__gt=now
    )
    with bookkeeping():
        held = rows.update(lease_expires_at=now + timedelta(seconds=task.queue.lease_seconds))
    task.refresh_from_db()
    if not held:
        raise HeadwaterError("conflict", "your lease on this task is over", hint="claim it again")
    return task


@action("reviews.task.released", permission="review.decide", on="task")
def release_task(*, actor: Actor, task: ReviewTask, reason: str = "") -> ReviewTask:
    """Give a task back undecided; without a lease of one's own nothing happens."""
    rows = ReviewTask.objects.for_org(task.org_id).filter(pk=task.pk, state=State.CLAIMED, lease_owner_id=actor.id)
    task.refresh_from_db()
    with bookkeeping():
        gone = rows.update(state=task.waiting_state, revision=F("revision") + 1, **FREE)
    task.refresh_from_db()
    if gone:
        note(task, released_by=actor.label)
    return task


@action("reviews.task.assigned", permission="review.write", on="task")
def assign_task(*, actor: Actor, task: ReviewTask, member: Membership | None, reason: str = "") -> ReviewTask:
    """Set a task aside for a member, who alone may claim it then; None: for anybody. A live lease stays.

    Raises:
        HeadwaterError: ``conflict`` when it is over, ``not_found`` for a member of another organisation.
    """
    task.refresh_from_db()
    if task.is_over:
        raise HeadwaterError("conflict", f"this task is {task.state}")
    if member is not None and (member.org_id != task.org_id or member.status != Membership.Status.ACTIVE):
        raise HeadwaterError("not_found", "there is no such member")
    task.change(
        assignee_id=member.user.public_id if member else "",
        assignee_label=member.user.email if member else "",
    )
    return task


def _why_lost(task: ReviewTask, actor: Actor) -> str:
    if task.is_over:
        return f"this task is {task.state}"
    if task.is_leased() and task.lease_owner_id != actor.id:
        return f"{task.lease_owner_label} looks at this task until {task.lease_expires_at:%H:%M:%S} UTC"
    if task.assignee_id and task.assignee_id != actor.id:
        return f"this task is set aside for {task.assignee_label}"
    if task.decisions.filter(reviewer_id=actor.id).exists():
        return "you have decided this task; others have to as well"
    return "somebody else was faster"
