"""What time does to tasks: leases run out, what is due is escalated, what nobody ever decided expires."""

# ruff: noqa: ARG001 - actor and reason are for the decorator

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import F
from django.utils import timezone

from headwater.control.kit.actions import Actor, action, bookkeeping, note
from headwater.control.reviews.decisions import tell_escalation
from headwater.control.reviews.leases import FREE
from headwater.control.reviews.models import ReviewTask
from headwater.core.errors import HeadwaterError

State = ReviewTask.State
LIVE: Final = (State.OPEN, State.CLAIMED, State.ESCALATED)
WATCHER: Final = Actor("system", "reviews.watcher", "Headwater, watching review queues")
BATCH: Final = 200
KEPT: Final = timedelta(days=30)
"""For so long after it was due a task can be decided."""


@action("reviews.lease.expired", permission=None)
def free_task(*, actor: Actor, task: ReviewTask, now: datetime) -> bool:
    """Give back a task whose lease is over; return whether it was."""
    rows = ReviewTask.objects.for_org(task.org_id).filter(
        pk=task.pk, state=State.CLAIMED, lease_expires_at__lte=now, revision=task.revision
    )
    with bookkeeping():
        freed = rows.update(state=task.waiting_state, revision=F("revision") + 1, **FREE)
    if freed:
        note(task, lease_of=task.lease_owner_label, ended=str(task.lease_expires_at))
        task.refresh_from_db()
    return bool(freed)


@action("reviews.task.escalated", permission=None)
def escalate_task(*, actor: Actor, task: ReviewTask, now: datetime) -> bool:
    """Escalate a task that is due; whoever looks at it at the moment may finish. Return whether it was."""
    task.refresh_from_db()
    if task.escalated_at is not None or task.is_over or task.due_at > now:
        return False
    state = task.state if task.state == State.CLAIMED else State.ESCALATED
    task.change(state=state, escalated_at=now, escalated_because="sla")
    tell_escalation(task, "sla")
    return True


@action("reviews.task.expired", permission=None)
def expire_task(*, actor: Actor, task: ReviewTask, now: datetime) -> bool:
    """Close a task that nobody decided in a month after it was due."""
    task.refresh_from_db()
    if task.is_over or task.is_leased(now):
        return False
    return task.change(state=State.EXPIRED, **FREE)


@action("reviews.task.cancelled", permission="review.write", on="task")
def cancel_task(*, actor: Actor, task: ReviewTask, reason: str = "") -> ReviewTask:
    """Close a task without a verdict; raises ``conflict`` when it was decided."""
    task.refresh_from_db()
    if task.state == State.CANCELLED:
        return task
    if task.is_over:
        raise HeadwaterError("conflict", f"this task is {task.state}")
    task.change(state=State.CANCELLED, **FREE)
    note(task, because=reason or "cancelled by hand")
    return task


def watch(now: datetime | None = None) -> dict[str, int]:
    """Do all that is due, a bounded number at a time; return how many of each."""
    now = now or timezone.now()
    tasks = ReviewTask.unscoped.select_related("queue", "environment", "org")
    over = tasks.filter(state=State.CLAIMED, lease_expires_at__lte=now).order_by("lease_expires_at")
    freed = sum(free_task(actor=WATCHER, task=task, now=now) for task in over[:BATCH])
    due = tasks.filter(escalated_at=None, state__in=(State.OPEN, State.CLAIMED), due_at__lte=now).order_by("due_at")
    escalated = sum(escalate_task(actor=WATCHER, task=task, now=now) for task in due[:BATCH])
    old = tasks.filter(state__in=LIVE, due_at__lte=now - KEPT).order_by("due_at")
    expired = sum(expire_task(actor=WATCHER, task=task, now=now) for task in old[:BATCH])
    return {"freed": freed, "escalated": escalated, "expired": expired}
