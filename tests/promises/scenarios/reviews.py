"""How to run every action of reviews and overrides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from tests.builders.reviews import make_queue, make_reviewer, make_scored_model, make_task

from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.control.overrides.actions import approve_override, reject_override, request_override, revoke_override
from headwater.control.overrides.models import Override
from headwater.control.reviews.actions import (
    archive_queue,
    assign_task,
    cancel_task,
    claim_task,
    decide_task,
    escalate_task,
    expire_task,
    free_task,
    record_delivery,
    record_failure,
    release_task,
    restore_queue,
    retry_delivery,
    supersede_decision,
)
from headwater.control.reviews.models import ReviewTask
from headwater.control.reviews.opening import FEEDER
from headwater.control.reviews.watch import WATCHER

Scenario = Callable[[Environment], object]
LATE: Final = {"late": True}


def _open(e: Environment, **queue: Any) -> ReviewTask:
    return make_task(make_queue(e, **queue), e)


def _claimed(e: Environment, **queue: Any) -> tuple[ReviewTask, Actor]:
    actor = make_reviewer(e.org)
    return claim_task(actor=actor, task=_open(e, **queue)), actor


def _decided(e: Environment, **queue: Any) -> tuple[ReviewTask, Actor]:
    task, actor = _claimed(e, **queue)
    decide_task(actor=actor, task=task, verdict="label", answers=LATE)
    return task, actor


def _superseded(e: Environment) -> object:
    task, actor = _decided(e, decisions=2)
    return supersede_decision(actor=actor, task=task, verdict="label", answers={"late": False})


def _failed(e: Environment) -> ReviewTask:
    return record_failure(actor=SYSTEM, task=_decided(e)[0], problem="no such model")


def _assigned(e: Environment) -> object:
    from tests.builders.control import make_member

    return assign_task(actor=SYSTEM, task=_open(e), member=make_member(e.org, "operator"))


def _restored(e: Environment) -> object:
    return restore_queue(actor=SYSTEM, queue=archive_queue(actor=SYSTEM, queue=make_queue(e)))


def _released(e: Environment) -> object:
    task, actor = _claimed(e)
    return release_task(actor=actor, task=task)


def _requested(e: Environment) -> Override:
    make_scored_model(e)
    return request_override(
        actor=make_reviewer(e.org), environment=e, target="delay", output="score", key={"carrier": "UA"}, value=0.5,
        valid_until=timezone.now() + timedelta(days=1), reason="strike",
    )  # fmt: skip


SCENARIOS: Final[dict[str, Scenario]] = {
    "reviews.queue.published": make_queue,
    "reviews.queue.archived": lambda e: archive_queue(actor=SYSTEM, queue=make_queue(e)),
    "reviews.queue.restored": _restored,
    "reviews.task.opened": _open,
    "reviews.task.claimed": _claimed,
    "reviews.task.released": _released,
    "reviews.task.assigned": _assigned,
    "reviews.task.cancelled": lambda e: cancel_task(actor=FEEDER, task=_open(e)),
    "reviews.task.escalated": lambda e: escalate_task(
        actor=WATCHER, task=_open(e), now=timezone.now() + timedelta(days=1)
    ),
    "reviews.task.expired": lambda e: expire_task(actor=WATCHER, task=_open(e), now=timezone.now()),
    "reviews.lease.expired": lambda e: free_task(
        actor=WATCHER, task=_claimed(e)[0], now=timezone.now() + timedelta(days=1)
    ),
    "reviews.decision.recorded": _decided,
    "reviews.decision.superseded": _superseded,
    "reviews.outcome.delivered": lambda e: record_delivery(actor=SYSTEM, task=_decided(e)[0], result={"accepted": 1}),
    "reviews.outcome.failed": _failed,
    "reviews.outcome.retried": lambda e: retry_delivery(actor=SYSTEM, task=_failed(e)),
    "overrides.override.requested": _requested,
    "overrides.override.approved": lambda e: approve_override(actor=make_reviewer(e.org), override=_requested(e)),
    "overrides.override.rejected": lambda e: reject_override(actor=make_reviewer(e.org), override=_requested(e)),
    "overrides.override.revoked": lambda e: revoke_override(actor=make_reviewer(e.org), override=_requested(e)),
}
