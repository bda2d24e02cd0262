"""Laws of review tasks, whatever reviewers do in whatever order.

One live lease at a time; decided means that enough agree, or that somebody settled a disagreement; no word is lost.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders.control import (
    _sealed_again,
    control_home,
    django_db_modify_db_settings,
    environment,
)
from tests.builders.reviews import make_queue, make_reviewer, make_task

from headwater.control.kit.actions import Actor, bookkeeping
from headwater.control.orgs.models import Environment
from headwater.control.reviews.actions import (
    claim_task,
    decide_task,
    release_task,
    renew_lease,
    supersede_decision,
)
from headwater.control.reviews.models import ReviewDecision, ReviewTask
from headwater.control.reviews.queries import live_decisions
from headwater.control.reviews.watch import watch
from headwater.core.errors import HeadwaterError

__all__ = ["_sealed_again", "control_home", "django_db_modify_db_settings", "environment"]

REVIEWERS = 4
OPERATIONS = ("claim", "yes", "no", "release", "renew", "pass", "correct")
STEPS = st.lists(st.tuples(st.integers(0, REVIEWERS - 1), st.sampled_from(OPERATIONS)), max_size=14)


@given(steps=STEPS, required=st.integers(1, 3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reviewing_keeps_its_laws(environment: Environment, steps: list[tuple[int, str]], required: int) -> None:
    people = _people(environment)
    task = make_task(make_queue(environment, decisions=required), environment)
    words = 0
    for who, operation in steps:
        before = _facts(task)
        done = _do(people[who], task, operation)
        words += done in ("yes", "no", "correct")
        task.refresh_from_db()
        _check(task, required, words)
        if before["over"]:
            assert _facts(task) == before, "what is over stays as it is"
        if done == "claim":
            assert task.lease_owner_id == people[who].id
        if operation in ("yes", "no") and done:
            assert before["holder"] == people[who].id, "who decides holds the lease"


def _people(environment: Environment) -> list[Actor]:
    if not hasattr(environment, "people"):
        environment.people = [make_reviewer(environment.org) for _ in range(REVIEWERS)]  # type: ignore[attr-defined]
    people: list[Actor] = environment.people  # type: ignore[attr-defined]
    return people


def _do(actor: Actor, task: ReviewTask, operation: str) -> str:
    """Return the operation if it changed something, nothing if it was refused."""
    before = ReviewDecision.objects.for_org(task.org_id).filter(task=task).count()
    try:
        match operation:
            case "claim":
                claim_task(actor=actor, task=task)
            case "yes" | "no":
                decide_task(actor=actor, task=task, verdict="label", answers={"late": operation == "yes"})
            case "correct":
                supersede_decision(actor=actor, task=task, verdict="confirm", answers={"late": True})
            case "release":
                release_task(actor=actor, task=task)
            case "renew":
                renew_lease(actor=actor, task=task)
            case _:
                _let_leases_pass(task)
    except HeadwaterError as error:
        if error.code not in ("conflict", "forbidden"):
            raise
        return ""
    is_word = operation in ("yes", "no", "correct")
    after = ReviewDecision.objects.for_org(task.org_id).filter(task=task).count()
    assert after - before in ((0, 1) if is_word else (0,))
    return operation if not is_word or after > before else ""


def _let_leases_pass(task: ReviewTask) -> None:
    now = timezone.now()
    with bookkeeping():
        ReviewTask.unscoped.filter(pk=task.pk, state="claimed").update(lease_expires_at=now - timedelta(seconds=1))
    watch(now)


def _facts(task: ReviewTask) -> dict[str, Any]:
    return {
        "over": task.is_over, "state": task.state, "verdict": task.verdict, "holder": task.lease_owner_id,
        "revision": task.revision, "decided": task.decided_at,
    }  # fmt: skip


def _check(task: ReviewTask, required: int, words: int) -> None:
    kept = ReviewDecision.objects.for_org(task.org_id).filter(task=task)
    assert kept.count() == words, "no word is lost, none is made up"
    assert (task.state == "claimed") == bool(task.lease_owner_id) == (task.lease_expires_at is not None)
    live = live_decisions(task)
    assert len({one.reviewer_id for one in live}) == len(live), "a reviewer speaks with one voice"
    if task.state == "decided":
        assert task.verdict in {one.verdict for one in live}
        if task.escalated_because != "disagreement":
            assert len(live) >= required
            assert len({str(one.outcome) for one in live}) == 1
    elif len(live) >= required and task.state != "claimed":
        assert task.escalated_because == "disagreement"
