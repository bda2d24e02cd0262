"""Every change to review queues and their tasks."""

from __future__ import annotations

from headwater.control.reviews.decisions import decide_task, supersede_decision
from headwater.control.reviews.delivery import record_delivery, record_failure, retry_delivery
from headwater.control.reviews.leases import assign_task, claim_next, claim_task, release_task, renew_lease
from headwater.control.reviews.opening import open_tasks
from headwater.control.reviews.queues import archive_queue, publish_queue, restore_queue
from headwater.control.reviews.watch import cancel_task, escalate_task, expire_task, free_task

__all__ = [
    "archive_queue",
    "assign_task",
    "cancel_task",
    "claim_next",
    "claim_task",
    "decide_task",
    "escalate_task",
    "expire_task",
    "free_task",
    "open_tasks",
    "publish_queue",
    "record_delivery",
    "record_failure",
    "release_task",
    "renew_lease",
    "restore_queue",
    "retry_delivery",
    "supersede_decision",
]
