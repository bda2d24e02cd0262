"""Claiming, deciding, disagreeing, escalating."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone
from tests.builders.control import events
from tests.builders.reviews import make_queue, make_reviewer, make_task, make_tasks

from headwater.control.kit.actions import Actor, bookkeeping
from headwater.control.kit.models import Outbox
from headwater.control.orgs.models import Environment, Membership
from headwater.control.reviews.actions import (
    assign_task,
    cancel_task,
    claim_next,
    claim_task,
    decide_task,
    release_task,
    renew_lease,
    supersede_decision,
)
from headwater.control.reviews.models import ReviewDecision, ReviewTask
from headwater.control.reviews.queries import standings
from headwater.control.reviews.watch import KEPT, watch
from headwater.core.errors import HeadwaterError

YES, NO = {"late": True}, {"late": False}


@pytest.fixture
def ann(environment: Environment) -> Actor:
    return make_reviewer(environment.org)


@pytest.fixture
def bob(environment: Environment) -> Actor:
    return make_reviewer(environment.org)


@pytest.fixture
def eve(environment: Environment) -> Actor:
    return make_reviewer(environment.org)


def decide(actor: Actor, task: ReviewTask, answers: dict[str, bool] = YES, verdict: str = "label") -> ReviewDecision:
    claim_task(actor=actor, task=task)
    return decide_task(actor=actor, task=task, verdict=verdict, answers=answers)


def test_one_decision_is_enough_where_one_is_asked_for(environment: Environment, ann: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    decide(ann, task)
    assert (task.state, task.verdict, task.delivery) == ("decided", "label", "pending")
    assert task.lease_owner_id == ""
    recorded = events(environment.org, "reviews.decision.recorded")
    assert recorded[0].actor_label == ann.label


def test_a_task_that_somebody_holds_is_nobody_elses(environment: Environment, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    claim_task(actor=ann, task=task)
    for attempt in (claim_task, lambda **a: decide_task(verdict="label", answers=YES, **a), renew_lease):
        with pytest.raises(HeadwaterError) as caught:
            attempt(actor=bob, task=ReviewTask.unscoped.get(pk=task.pk))
        assert caught.value.code == "conflict"
    task.refresh_from_db()
    assert task.lease_owner_id == ann.id


def test_a_lease_runs_out_and_somebody_else_may_claim(environment: Environment, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    claim_task(actor=ann, task=task)
    _let_pass(task)
    with pytest.raises(HeadwaterError, match="your lease is over"):
        decide_task(actor=ann, task=task, verdict="label", answers=YES)
    claim_task(actor=bob, task=task)
    assert task.lease_owner_id == bob.id


def test_a_lease_is_renewed_by_its_holder_and_released(environment: Environment, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    claim_task(actor=ann, task=task)
    with bookkeeping():
        ReviewTask.unscoped.filter(pk=task.pk).update(lease_expires_at=timezone.now() + timedelta(seconds=1))
    renew_lease(actor=ann, task=task)
    assert task.lease_expires_at is not None
    assert task.lease_expires_at > timezone.now() + timedelta(minutes=9)
    release_task(actor=bob, task=task)
    assert task.is_leased()
    release_task(actor=ann, task=task)
    assert (task.state, task.lease_owner_id) == ("open", "")


def test_the_next_task_is_the_most_urgent_one_may_look_at(environment: Environment, ann: Actor, bob: Actor) -> None:
    queue = make_queue(environment, four_eyes="true")
    low, high = make_task(queue, environment), make_task(queue, environment, priority=5)
    own = make_task(queue, environment, priority=9, authors=(ann.id,))
    taken = [claim_next(actor=ann, queue=queue, environment=environment) for _ in range(2)]
    assert [task and task.pk for task in taken[:1]] == [high.pk]
    assert claim_next(actor=bob, queue=queue, environment=environment) == own
    assert claim_next(actor=bob, queue=queue, environment=environment) is not None
    assert low.pk


def test_with_four_eyes_nobody_decides_what_they_sent(environment: Environment, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment, four_eyes="true"), environment, authors=(ann.id,))
    with pytest.raises(HeadwaterError, match="sent yourself") as caught:
        claim_task(actor=ann, task=task)
    assert caught.value.code == "forbidden"
    decide(bob, task)
    assert task.state == "decided"


def test_several_reviewers_have_to_agree(environment: Environment, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment, decisions=2), environment)
    decide(ann, task)
    assert (task.state, task.delivery) == ("open", "none")
    with pytest.raises(HeadwaterError, match="you have decided"):
        claim_task(actor=ann, task=task)
    decide(bob, task)
    assert (task.state, task.delivery) == ("decided", "pending")


def test_disagreement_is_settled_by_whom_it_is_escalated_to(
    environment: Environment, ann: Actor, bob: Actor, eve: Actor, owner: Actor
) -> None:
    queue = make_queue(environment, decisions=2, escalate=", escalate_to: 'role:owner'")
    task = make_task(queue, environment)
    decide(ann, task, YES)
    decide(bob, task, NO)
    assert (task.state, task.escalated_because, task.delivery) == ("escalated", "disagreement", "none")
    event = Outbox.objects.get(topic="review.task.escalated")
    assert (event.payload["because"], event.payload["escalate_to"]) == ("disagreement", "role:owner")
    with pytest.raises(HeadwaterError, match="role:owner settles"):
        claim_task(actor=eve, task=task)
    decide(owner, task, NO)
    assert (task.state, task.verdict) == ("decided", "label")
    assert ReviewDecision.objects.for_org(environment.org).filter(task=task).count() == 3


def test_a_decision_is_superseded_not_changed(environment: Environment, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment, decisions=2), environment)
    first = decide(ann, task, YES)
    second = supersede_decision(actor=ann, task=task, verdict="label", answers=NO, comment="looked again")
    assert second.supersedes == first
    decide(bob, task, NO)
    assert task.state == "decided"
    with pytest.raises(HeadwaterError, match="is decided"):
        supersede_decision(actor=ann, task=task, verdict="label", answers=YES)


def test_agreeing_afterwards_ends_a_disagreement(environment: Environment, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment, decisions=2), environment)
    decide(ann, task, YES)
    decide(bob, task, NO)
    supersede_decision(actor=ann, task=task, verdict="label", answers=NO)
    assert task.state == "decided"


def test_saying_the_same_twice_is_one_decision(environment: Environment, ann: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    first = decide(ann, task)
    assert decide_task(actor=ann, task=task, verdict="label", answers=YES) == first


def test_decisions_cannot_be_changed_or_deleted(environment: Environment, ann: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    word = decide(ann, task)
    for attempt in ("update", "delete"):
        rows = ReviewDecision.unscoped.filter(pk=word.pk)
        with bookkeeping(), transaction.atomic(), pytest.raises(DatabaseError, match="sealed"):
            rows.update(verdict="discard") if attempt == "update" else rows.delete()
    with bookkeeping(), transaction.atomic(), pytest.raises(DatabaseError, match="sealed"):
        ReviewTask.unscoped.filter(pk=task.pk).update(payload={})


@pytest.mark.parametrize(
    ("verdict", "answers", "words"),
    [
        ("label", {}, "late"),
        ("label", {"late": "yes"}, "late"),
        ("label", {"late": True, "other": 1}, "other"),
        ("override", {"late": True, "corrected": 2}, "corrected"),
        ("replay", {}, "one of: confirm, label, override"),
    ],
)
def test_answers_are_held_against_the_form(
    environment: Environment, ann: Actor, verdict: str, answers: dict[str, object], words: str
) -> None:
    task = make_task(make_queue(environment), environment)
    claim_task(actor=ann, task=task)
    with pytest.raises(HeadwaterError) as caught:
        decide_task(actor=ann, task=task, verdict=verdict, answers=answers)
    assert words in caught.value.detail + str(caught.value.hint)
    task.refresh_from_db()
    assert task.is_leased()


def test_a_verdict_needs_the_right_to_do_by_hand_what_it_leads_to(environment: Environment) -> None:
    from tests.builders.control import make_member

    from headwater.control.access.actions import grant
    from headwater.control.access.queries import actor_for_user
    from headwater.control.access.roles import create_role
    from headwater.control.kit.actions import SYSTEM

    member = make_member(environment.org, "analyst")
    role = create_role(actor=SYSTEM, org=environment.org, name="labeller", permissions=["review.read", "review.decide"])
    grant(actor=SYSTEM, scope=environment.org, role=role, membership=member)
    labeller = actor_for_user(member.user)
    task = make_task(make_queue(environment), environment)
    claim_task(actor=labeller, task=task)
    with pytest.raises(HeadwaterError, match=r"override\.write"):
        decide_task(actor=labeller, task=task, verdict="override", answers=YES | {"corrected": 0.1})
    decide_task(actor=labeller, task=task, verdict="label", answers=YES)
    assert task.state == "decided"


def test_an_assigned_task_is_for_one_person(environment: Environment, owner: Actor, ann: Actor, bob: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    member = Membership.objects.for_org(environment.org).get(user=bob.subject)
    assign_task(actor=owner, task=task, member=member)
    with pytest.raises(HeadwaterError, match="set aside for"):
        claim_task(actor=ann, task=task)
    assert claim_next(actor=ann, queue=task.queue, environment=environment) is None
    claim_task(actor=bob, task=task)


def test_what_is_due_is_escalated_once_with_an_event(environment: Environment, ann: Actor) -> None:
    queue = make_queue(environment)
    held, free = make_tasks(queue, environment, 2)
    claim_task(actor=ann, task=held)
    later = timezone.now() + timedelta(hours=5)
    with bookkeeping():
        ReviewTask.unscoped.filter(pk=held.pk).update(lease_expires_at=later + timedelta(minutes=1))
    assert watch(later) == {"freed": 0, "escalated": 2, "expired": 0}
    assert watch(later)["escalated"] == 0
    for task in (held, free):
        task.refresh_from_db()
        assert (task.escalated_because, task.escalated_at) == ("sla", later)
    assert (held.state, free.state) == ("claimed", "escalated")
    assert Outbox.objects.filter(topic="review.task.escalated").count() == 2
    release_task(actor=ann, task=held)
    assert held.state == "escalated"


def test_leases_that_ran_out_are_freed_and_old_tasks_expire(environment: Environment, ann: Actor) -> None:
    task, old = make_tasks(make_queue(environment), environment, 2)
    claim_task(actor=ann, task=task)
    _let_pass(task)
    assert watch()["freed"] == 1
    task.refresh_from_db()
    assert task.state == "open"
    assert watch(old.due_at + KEPT + timedelta(minutes=1))["expired"] == 2
    old.refresh_from_db()
    assert old.state == "expired"


def test_a_cancelled_task_is_over(environment: Environment, owner: Actor, ann: Actor) -> None:
    task = make_task(make_queue(environment), environment)
    cancel_task(actor=owner, task=task, reason="a test")
    with pytest.raises(HeadwaterError, match="is cancelled"):
        claim_task(actor=ann, task=task)


def test_a_queue_says_how_it_stands(environment: Environment, ann: Actor) -> None:
    queue = make_queue(environment)
    first, *_ = make_tasks(queue, environment, 3)
    claim_task(actor=ann, task=first)
    standing = standings([queue], environment)[queue.pk]
    assert (standing.waiting, standing.claimed, standing.overdue) == (3, 1, 0)
    assert standing.oldest_at == first.created_at


def _let_pass(task: ReviewTask) -> None:
    with bookkeeping():
        ReviewTask.unscoped.filter(pk=task.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    task.refresh_from_db()
