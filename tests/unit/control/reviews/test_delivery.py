"""Verdicts are carried out once, as soon as services are there."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from tests.builders.control import events
from tests.builders.projects import small_project
from tests.builders.reviews import GROUPS, ROWS, FakePlane, group, kept_row, make_queue, make_reviewer, make_task
from tests.fakes.data_plane import FakeServices, no_services, quarantine_group, services

from headwater.control.catalog.apply import apply_project
from headwater.control.kit.actions import Actor, bookkeeping
from headwater.control.kit.models import Outbox
from headwater.control.orgs.models import Environment
from headwater.control.overrides.models import Override
from headwater.control.reviews import delivery
from headwater.control.reviews.actions import claim_task, decide_task, retry_delivery
from headwater.control.reviews.delivery import deliver_pending
from headwater.control.reviews.feeding import feed
from headwater.control.reviews.models import ReviewTask
from headwater.core.errors import HeadwaterError

__all__ = ["no_services", "services"]


@pytest.fixture
def ann(environment: Environment) -> Actor:
    return make_reviewer(environment.org)


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    plane = FakePlane()
    monkeypatch.setattr(delivery, "connect_reviews", lambda: plane)
    return plane


def decided(environment: Environment, ann: Actor, verdict: str, **said: Any) -> ReviewTask:
    task = make_task(make_queue(environment), environment)
    claim_task(actor=ann, task=task)
    decide_task(actor=ann, task=task, verdict=verdict, **said)
    return task


def test_a_label_becomes_an_outcome_in_the_reviewers_name(
    environment: Environment, ann: Actor, plane: FakePlane
) -> None:
    task = decided(environment, ann, "label", answers={"late": True})
    assert deliver_pending() == 1
    assert deliver_pending() == 0
    assert plane.done == [
        {
            "verb": "label", "environment": environment.public_id, "id": task.subject["prediction_id"],
            "outcome": True, "by": ann.id,
        }
    ]  # fmt: skip
    task.refresh_from_db()
    assert (task.delivery, task.delivery_result["accepted"]) == ("done", 1)


def test_a_confirmed_prediction_leads_to_nothing(environment: Environment, ann: Actor, plane: FakePlane) -> None:
    task = decided(environment, ann, "confirm", answers={"late": False})
    assert deliver_pending() == 0
    assert (task.delivery, plane.done) == ("none", [])


def test_an_override_is_asked_for_once_and_needs_somebody_else(
    environment: Environment, ann: Actor, plane: FakePlane
) -> None:
    task = decided(environment, ann, "override", answers={"late": False, "corrected": 0.1}, comment="it landed")
    assert deliver_pending() == 1
    override = Override.objects.for_org(environment.org).get()
    assert (override.state, override.key, override.value) == ("requested", {"carrier": "UA"}, 0.1)
    assert (override.requested_by_id, override.reason, override.origin) == (ann.id, "it landed", task.public_id)
    assert override.valid_until > timezone.now()
    with bookkeeping():
        ReviewTask.unscoped.filter(pk=task.pk).update(delivery="pending", delivery_after=None)
    assert deliver_pending() == 1
    assert Override.objects.for_org(environment.org).count() == 1
    asked = events(environment.org, "overrides.override.requested")[0]
    assert asked.on_behalf_of == ann.id


def test_a_verdict_waits_for_services_later_and_later(environment: Environment, ann: Actor, plane: FakePlane) -> None:
    task = decided(environment, ann, "label", answers={"late": True})
    plane.error = HeadwaterError("services_unavailable", "nobody answers")
    assert deliver_pending() == 0
    task.refresh_from_db()
    assert (task.delivery, task.delivery_attempts) == ("pending", 1)
    assert task.delivery_after is not None
    assert "nobody answers" in task.delivery_result["problem"]
    plane.error = None
    assert deliver_pending() == 0, "not yet"
    with bookkeeping():
        ReviewTask.unscoped.filter(pk=task.pk).update(delivery_after=timezone.now())
    assert deliver_pending() == 1


def test_what_can_never_be_carried_out_is_said_and_can_be_tried_again(
    environment: Environment, ann: Actor, plane: FakePlane
) -> None:
    task = decided(environment, ann, "label", answers={"late": True})
    plane.error = HeadwaterError("model_not_found", "there is no such model")
    assert deliver_pending() == 0
    task.refresh_from_db()
    assert (task.delivery, task.delivery_result) == ("failed", {"problem": "model_not_found: there is no such model"})
    assert Outbox.objects.get(topic="review.outcome.failed").payload["task"] == task.public_id
    plane.error = None
    retry_delivery(actor=ann, task=task)
    assert deliver_pending() == 1
    with pytest.raises(HeadwaterError, match="no verdict"):
        retry_delivery(actor=ann, task=task)


def test_a_group_is_replayed_by_the_action_that_people_use(
    environment: Environment, owner: Actor, ann: Actor, services: FakeServices
) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    services.fill()
    fingerprint = str(quarantine_group()["fingerprint"])
    queue = make_queue(environment, GROUPS % "flights", key="refused")
    feed(FakePlane(groups=[group(fingerprint)]), queue, environment)  # type: ignore[arg-type]
    task = ReviewTask.objects.for_org(environment.org).get(queue=queue)
    claim_task(actor=ann, task=task)
    decide_task(actor=ann, task=task, verdict="replay", comment="contract mended")
    assert deliver_pending() == 1
    assert services.verdicts[0]["fingerprint"] == fingerprint
    resolved = events(environment.org, "catalog.quarantine.resolved")[0]
    assert (resolved.reason, resolved.on_behalf_of) == ("contract mended", ann.id)


def test_a_row_is_corrected_and_sent_again(
    environment: Environment, owner: Actor, ann: Actor, plane: FakePlane
) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    queue, row = make_queue(environment, ROWS % "flights", key="rows"), kept_row()
    feed(FakePlane(rows=[row]), queue, environment)  # type: ignore[arg-type]
    task = ReviewTask.objects.for_org(environment.org).get(queue=queue)
    claim_task(actor=ann, task=task)
    with pytest.raises(HeadwaterError, match="change something"):
        decide_task(actor=ann, task=task, verdict="correct")
    decide_task(actor=ann, task=task, verdict="correct", changes={"wind_speed": 10.48})
    assert deliver_pending() == 1
    assert plane.done[0]["changes"] == {"wind_speed": 10.48}
    assert plane.done[0]["ids"] == [row.quarantine_id]
