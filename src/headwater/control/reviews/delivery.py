"""Carrying out verdicts: rows are replayed, corrected or discarded, predictions labelled, overrides asked for.

A verdict waits in the transaction that made it, on its task, until it is carried out; while services are away it is
tried later and later. Each step can be repeated: services give a row one verdict and count a label once, and
a review asks for one override.
"""

# ruff: noqa: ARG001 - actor is for the decorator

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from django.db.models import F, Q
from django.utils import timezone

from headwater.control.catalog.data_plane import Verdict
from headwater.control.catalog.models import Dataset
from headwater.control.catalog.quarantine import discard_case, replay_case
from headwater.control.kit.actions import Actor, action, bookkeeping, note
from headwater.control.kit.outbox import put
from headwater.control.overrides.actions import request_override
from headwater.control.overrides.models import Override
from headwater.control.reviews.models import ReviewDecision, ReviewQueue, ReviewTask
from headwater.control.reviews.plane import connect_reviews
from headwater.control.reviews.queries import live_decisions
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

Delivery = ReviewTask.Delivery
CARRIER: Final = Actor("system", "reviews", "Headwater, carrying out reviews")
FAILED_EVENT: Final = "review.outcome.failed"
BATCH: Final = 50
FIRST_RETRY: Final = timedelta(seconds=5)
LAST_RETRY: Final = timedelta(hours=1)
HOLD: Final = timedelta(minutes=3)
"""For so long nobody else tries: longer than services may take."""
_LATER: Final = frozenset({"services_unavailable", "overloaded", "journal_unavailable", "storage_exhausted",
                           "storage_unavailable", "config_unavailable", "query_timeout", "internal"})  # fmt: skip
_log = get_logger(__name__)


@action("reviews.outcome.delivered", permission=None)
def record_delivery(*, actor: Actor, task: ReviewTask, result: Mapping[str, Any]) -> ReviewTask:
    """Write down that a verdict was carried out."""
    task.refresh_from_db()
    task.change(delivery=Delivery.DONE, delivery_result=dict(result), delivery_after=None)
    return task


@action("reviews.outcome.failed", permission=None)
def record_failure(*, actor: Actor, task: ReviewTask, problem: str) -> ReviewTask:
    """Write down that a verdict cannot be carried out as it is: somebody has to look."""
    task.refresh_from_db()
    task.change(delivery=Delivery.FAILED, delivery_result={"problem": problem[:1_000]}, delivery_after=None)
    put(
        topic=FAILED_EVENT,
        key=task.public_id,
        payload={"task": task.public_id, "title": task.title, "queue": task.queue.key, "problem": problem[:1_000]},
    )
    return task


@action("reviews.outcome.retried", permission="review.decide", on="task")
def retry_delivery(*, actor: Actor, task: ReviewTask) -> ReviewTask:
    """Carry out a verdict again that could not be; raises ``conflict`` when there is none."""
    task.refresh_from_db()
    if task.delivery != Delivery.FAILED:
        raise HeadwaterError("conflict", "no verdict of this task failed")
    task.change(delivery=Delivery.PENDING, delivery_after=None)
    note(task, retried_by=actor.label)
    return task


def deliver_pending() -> int:
    """Carry out what waits, a bounded number at a time; return how many verdicts were carried out."""
    now = timezone.now()
    waiting = ReviewTask.unscoped.filter(Q(delivery_after=None) | Q(delivery_after__lte=now), delivery=Delivery.PENDING)
    found = waiting.select_related("queue", "environment__project", "environment__org", "form", "org")
    return sum(deliver(task) for task in found.order_by("decided_at")[:BATCH])


def deliver(task: ReviewTask) -> bool:
    """Carry out the verdict on a task; return whether that is done."""
    if not _take(task):
        return False
    try:
        result = _carry_out(task)
    except HeadwaterError as error:
        problem = f"{error.code}: {error.detail}"
        if error.code not in _LATER:
            record_failure(actor=CARRIER, task=task, problem=problem)
        else:
            _put_off(task, problem)
        _log.warning("review_not_carried_out", task=task.public_id, problem=problem)
        return False
    record_delivery(actor=CARRIER, task=task, result=result)
    return True


def _take(task: ReviewTask) -> bool:
    """Keep others from carrying out the same verdict at the same time; return whether it is ours."""
    now = timezone.now()
    rows = ReviewTask.unscoped.filter(pk=task.pk, delivery=Delivery.PENDING)
    with bookkeeping():
        taken = rows.filter(Q(delivery_after=None) | Q(delivery_after__lte=now)).update(
            delivery_after=now + HOLD, delivery_attempts=F("delivery_attempts") + 1
        )
    task.refresh_from_db()
    return bool(taken)


def _put_off(task: ReviewTask, problem: str) -> None:
    pause = min(FIRST_RETRY * 2 ** min(task.delivery_attempts - 1, 20), LAST_RETRY)
    with bookkeeping():
        ReviewTask.unscoped.filter(pk=task.pk).update(
            delivery_after=timezone.now() + pause, delivery_result={"problem": problem[:1_000]}
        )


def _carry_out(task: ReviewTask) -> dict[str, Any]:
    word = next(word for word in reversed(live_decisions(task)) if word.verdict == task.verdict)
    reviewer = Actor("system", "reviews", f"{word.reviewer_label} (review)", on_behalf_of=word.reviewer_id)
    carry = _WAYS[task.verdict]
    return carry(task, word, reviewer)


def _resolve(task: ReviewTask, word: ReviewDecision, reviewer: Actor) -> dict[str, Any]:
    if task.queue.unit == ReviewQueue.Unit.ROW:
        verdict: Verdict = "replay" if word.verdict == "replay" else "discard"
        with connect_reviews() as services:
            return services.resolve_rows(
                task.environment.public_id, task.subject["dataset"], verdict, [task.subject["quarantine_id"]],
                requested_by=word.reviewer_id,
            )  # fmt: skip
    datasets = Dataset.objects.for_org(task.org_id).filter(project_id=task.queue.project_id)
    dataset = datasets.filter(name=task.subject["dataset"]).first()
    if dataset is None:
        raise HeadwaterError("dataset_not_found", f"there is no dataset {task.subject['dataset']!r}")
    resolve = replay_case if word.verdict == "replay" else discard_case
    resolution = resolve(
        actor=reviewer,
        dataset=dataset,
        environment=task.environment,
        fingerprint=task.subject["fingerprint"],
        reason=word.comment or f"review {task.public_id}",
    )
    return dict(resolution.counts)


def _correct(task: ReviewTask, word: ReviewDecision, _reviewer: Actor) -> dict[str, Any]:
    with connect_reviews() as services:
        return services.correct(
            task.environment.public_id, task.subject["dataset"], task.subject["quarantine_id"], word.changes,
            requested_by=word.reviewer_id,
        )  # fmt: skip


def _label(task: ReviewTask, word: ReviewDecision, _reviewer: Actor) -> dict[str, Any]:
    outcome = word.answers.get(task.queue.outcome["label"])
    if outcome is None:
        raise HeadwaterError("invalid_parameter", f"the answers do not say {task.queue.outcome['label']!r}")
    with connect_reviews() as services:
        return services.label(
            task.environment.public_id, task.subject["prediction_id"], outcome, requested_by=word.reviewer_id
        )


def _override(task: ReviewTask, word: ReviewDecision, reviewer: Actor) -> dict[str, Any]:
    wanted = task.queue.outcome["override"]
    known = Override.objects.for_org(task.org_id).filter(origin=task.public_id).first()
    if known is not None:
        return {"override": known.public_id}
    inputs = task.subject["inputs"]
    hidden = [name for name in wanted["inputs"] if inputs.get(name) is None]
    if hidden:
        raise HeadwaterError(
            "invalid_parameter", f"the log does not say the input {hidden[0]!r}, so the override would fit nothing"
        )
    override = request_override(
        actor=reviewer,
        environment=task.environment,
        target=task.subject["model"],
        output=wanted["output"],
        key={name: inputs[name] for name in wanted["inputs"]},
        value=word.answers.get(wanted["value"]),
        valid_until=timezone.now() + timedelta(hours=float(wanted["hours"])),
        reason=word.comment or f"decided in review {task.public_id}",
        origin=task.public_id,
    )
    return {"override": override.public_id}


_WAYS: Final[Mapping[str, Callable[[ReviewTask, ReviewDecision, Actor], dict[str, Any]]]] = {
    "replay": _resolve,
    "discard": _resolve,
    "correct": _correct,
    "label": _label,
    "override": _override,
}
