"""Deciding tasks: one reviewer's word at a time, until there are enough that agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import F
from django.utils import timezone

from headwater.control.access.authority import Scope, authorize
from headwater.control.kit.actions import Actor, action, bookkeeping
from headwater.control.kit.outbox import put
from headwater.control.reviews.forms import check_answers
from headwater.control.reviews.leases import FREE
from headwater.control.reviews.models import ReviewDecision, ReviewQueue, ReviewTask
from headwater.control.reviews.queries import live_decisions, refusal
from headwater.core.errors import HeadwaterError

State, Delivery = ReviewTask.State, ReviewTask.Delivery
ESCALATED_EVENT: Final = "review.task.escalated"
MAX_CHANGES: Final = 200
TITLES: Final[Mapping[str, str]] = {
    "replay": "Replay: send it through the current contract",
    "correct": "Correct: change fields, then replay",
    "discard": "Discard: give it up",
    "confirm": "Confirm: the prediction stands",
    "label": "Label: say what became of it",
    "override": "Override: answer otherwise for a while",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a reviewer says, before it is held against queue and form."""

    verdict: str
    answers: Mapping[str, Any]
    changes: Mapping[str, Any]
    comment: str


def verdicts_of(queue: ReviewQueue) -> list[str]:
    """Return what may be said about a queue's tasks, in the order of the number keys."""
    if queue.source == ReviewQueue.Source.QUARANTINE:
        return ["replay", "correct", "discard"] if queue.unit == ReviewQueue.Unit.ROW else ["replay", "discard"]
    return ["confirm", *(verdict for verdict in ("label", "override") if verdict in queue.outcome)]


def needs_answers(verdict: str) -> bool:
    """Return whether the form has to be filled in for a verdict."""
    return verdict in ("confirm", "label", "override")


def decide_task(
    *,
    actor: Actor,
    task: ReviewTask,
    verdict: str,
    answers: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    comment: str = "",
) -> ReviewDecision:
    """Say what is to become of a task that one holds; saying the same again changes nothing.

    Args:
        actor: the reviewer.
        task: what was looked at.
        verdict: one of ``verdicts_of``.
        answers: to the form.
        changes: of a correction: values by field; None removes nothing, it is null.
        comment: for the others.

    Raises:
        HeadwaterError: ``conflict`` without a live lease; ``forbidden``; ``invalid_parameter`` for answers that the
            form refuses, a verdict that this queue does not know, or a correction that changes nothing.
    """
    word = _checked(actor, task, Said(verdict, answers or {}, changes or {}, comment))
    said = next((one for one in live_decisions(task) if one.reviewer_id == actor.id), None)
    if said is not None and said.outcome == word.outcome:
        return said
    return _record(actor=actor, task=task, word=word)


def supersede_decision(
    *,
    actor: Actor,
    task: ReviewTask,
    verdict: str,
    answers: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    comment: str = "",
) -> ReviewDecision:
    """Correct what one said about a task that is not decided yet; both decisions stay.

    Raises:
        HeadwaterError: as ``decide_task``; ``conflict`` when nothing was said, or the task is over.
    """
    word = _checked(actor, task, Said(verdict, answers or {}, changes or {}, comment))
    return _supersede(actor=actor, task=task, word=word)


@action("reviews.decision.recorded", permission="review.decide", on="task")
def _record(*, actor: Actor, task: ReviewTask, word: ReviewDecision) -> ReviewDecision:
    if why := refusal(actor, task):
        raise HeadwaterError("forbidden", why)
    # The lease is used up first: this is what lets one decision in at a time.
    rows = ReviewTask.objects.for_org(task.org_id).filter(
        pk=task.pk, state=State.CLAIMED, lease_owner_id=actor.id, lease_expires_at__gt=timezone.now()
    )
    with bookkeeping():
        held = rows.update(
            state=task.waiting_state, assignee_id="", assignee_label="", revision=F("revision") + 1, **FREE
        )
    task.refresh_from_db()
    if not held:
        raise HeadwaterError(
            "conflict", "you do not hold this task, or your lease is over", hint="claim it, then decide again"
        )
    word.save()
    _settle(task, word)
    return word


@action("reviews.decision.superseded", permission="review.decide", on="task")
def _supersede(*, actor: Actor, task: ReviewTask, word: ReviewDecision) -> ReviewDecision:
    rows = ReviewTask.objects.for_org(task.org_id).filter(
        pk=task.pk, state__in=(State.OPEN, State.CLAIMED, State.ESCALATED)
    )
    with bookkeeping():
        held = rows.update(revision=F("revision") + 1)
    task.refresh_from_db()
    said = next((one for one in live_decisions(task) if one.reviewer_id == actor.id), None)
    if not held or said is None:
        what = f"this task is {task.state}" if not held else "you have not decided this task"
        raise HeadwaterError("conflict", what, hint="load it again")
    if said.outcome == word.outcome:
        return said
    word.supersedes = said
    word.save()
    if task.state != State.CLAIMED:
        _settle(task, None)
    return word


def _checked(actor: Actor, task: ReviewTask, said: Said) -> ReviewDecision:
    verdict, changes = said.verdict, said.changes
    known = verdicts_of(task.queue)
    if verdict not in known:
        raise HeadwaterError(
            "invalid_parameter", f"verdict: {verdict[:40]!r} is none of this queue", hint=f"one of: {', '.join(known)}"
        )
    _need_right(actor, task, verdict)
    if (verdict == "correct") != bool(changes):
        what = "a correction has to change something" if verdict == "correct" else "only a correction has changes"
        raise HeadwaterError("invalid_parameter", f"changes: {what}")
    if len(changes) > MAX_CHANGES:
        raise HeadwaterError("invalid_parameter", f"changes: at most {MAX_CHANGES} fields")
    spec = task.form.spec if task.form is not None else None
    checked = check_answers(spec, said.answers) if said.answers or needs_answers(verdict) else {}
    return ReviewDecision(
        org_id=task.org_id,
        task=task,
        form=task.form,
        reviewer_id=actor.id,
        reviewer_label=actor.label,
        verdict=verdict,
        answers=checked,
        changes=dict(changes),
        comment=said.comment[:2_000],
    )


def _need_right(actor: Actor, task: ReviewTask, verdict: str) -> None:
    """Raise ``forbidden`` unless the reviewer may do by hand what the verdict leads to."""
    if actor.kind == "system":
        return
    if verdict in ("replay", "correct", "discard"):
        resource = f"dataset:{task.subject['dataset']}"
        place = Scope(task.org_id, task.queue.project_id, task.environment_id, resource)
        authorize(actor, "quarantine.resolve", place)
    elif verdict == "override":
        authorize(actor, "override.write", task.environment)


def _settle(task: ReviewTask, newest: ReviewDecision | None) -> None:
    """Move a task on: decided once enough reviewers agree, or one has settled what the others disagreed on."""
    words = live_decisions(task)
    if task.escalated_because == "disagreement" and newest is not None:
        _finish(task, newest)
    elif len(words) >= task.queue.required_decisions:
        if all(word.outcome == words[0].outcome for word in words):
            _finish(task, words[0])
        elif task.escalated_because != "disagreement":
            task.change(
                state=State.ESCALATED, escalated_at=task.escalated_at or timezone.now(),
                escalated_because="disagreement",
            )  # fmt: skip
            tell_escalation(task, "disagreement")


def _finish(task: ReviewTask, word: ReviewDecision) -> None:
    carries = word.verdict != "confirm"
    task.change(
        state=State.DECIDED,
        decided_at=timezone.now(),
        verdict=word.verdict,
        delivery=Delivery.PENDING if carries else Delivery.NONE,
    )


def tell_escalation(task: ReviewTask, why: str) -> None:
    """Write the event that somebody else has to look: webhooks and mails will listen."""
    put(
        topic=ESCALATED_EVENT,
        key=task.public_id,
        payload={
            "task": task.public_id, "title": task.title, "queue": task.queue.key, "because": why,
            "environment": task.environment.public_id, "environment_key": task.environment.key,
            "due_at": task.due_at.isoformat(), "escalate_to": task.queue.escalate_to or None,
        },
    )  # fmt: skip
