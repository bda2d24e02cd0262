"""What services hold becomes tasks, each thing once, whatever dies in between."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders.control import events
from tests.builders.projects import small_project
from tests.builders.reviews import GROUPS, ROWS, FakePlane, group, kept_row, make_queue, make_reviewer

from headwater.control.catalog.apply import apply_project
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.reviews import feeding, tasks
from headwater.control.reviews.actions import claim_task, decide_task
from headwater.control.reviews.feeding import feed
from headwater.control.reviews.models import ReviewCursor, ReviewQueue, ReviewTask
from headwater.core.errors import HeadwaterError


@pytest.fixture(autouse=True)
def _project(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())


def found(queue: ReviewQueue, **where: Any) -> list[ReviewTask]:
    rows = ReviewTask.objects.for_org(queue.org_id).filter(queue=queue, **where)
    return list(rows.order_by("id"))


def test_uncertain_predictions_become_tasks_once(environment: Environment) -> None:
    queue, plane = make_queue(environment), FakePlane(scores=[0.1, 0.5, 0.45, 0.9])
    assert feed(plane, queue, environment) == 2  # type: ignore[arg-type]
    assert feed(plane, queue, environment) == 0  # type: ignore[arg-type]
    plane.scores += [0.55]
    assert feed(plane, queue, environment) == 1  # type: ignore[arg-type]
    first, second, third = found(queue)
    assert [question["after"] for question in plane.asked] == [-1, 3, 3]
    assert first.subject["prediction_id"] == "prd_" + f"{1:026}"
    assert first.payload["outputs"] == {"score": 0.5}
    assert first.priority == 500
    assert first.authors == ["sa_1"]
    assert len({first.dedupe_key, second.dedupe_key, third.dedupe_key}) == 3


def test_a_feeder_that_is_killed_before_it_commits_loses_and_doubles_nothing(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, plane = make_queue(environment), FakePlane(scores=[0.5] * 5)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feeding, "_move", die)
        with pytest.raises(KeyboardInterrupt):
            feed(plane, queue, environment)  # type: ignore[arg-type]
    assert found(queue) == []
    assert feed(plane, queue, environment) == 5  # type: ignore[arg-type]
    ReviewCursor.objects.update(position="")
    assert feed(plane, queue, environment) == 0  # type: ignore[arg-type]


def test_a_full_queue_takes_nothing_and_what_waits_is_not_lost(environment: Environment) -> None:
    queue, plane = make_queue(environment), FakePlane(scores=[0.5] * 7)
    queue.max_open = 3
    assert feed(plane, queue, environment) == 3  # type: ignore[arg-type]
    assert feed(plane, queue, environment) == 0  # type: ignore[arg-type]
    queue.max_open = 100
    assert feed(plane, queue, environment) == 4  # type: ignore[arg-type]


def test_a_sample_takes_so_many_a_day_and_goes_past_the_rest(environment: Environment) -> None:
    make_queue(environment)
    queue = make_queue(environment, "source: sample\nmodel: delay\nper_day: 2\nsample_percent: 50\n", key="sample")
    plane = FakePlane(scores=[0.5] * 5)
    assert feed(plane, queue, environment) == 2  # type: ignore[arg-type]
    assert plane.asked[0]["sample_bps"] == 5_000
    feed(plane, queue, environment)  # type: ignore[arg-type]
    assert plane.asked[1]["sample_bps"] == 0
    assert ReviewCursor.objects.get(queue=queue).position == "4"


def test_a_quarantine_group_is_one_task_until_it_is_dealt_with(environment: Environment) -> None:
    queue, plane = make_queue(environment, GROUPS % "flights", key="refused"), FakePlane(groups=[group()])
    assert feed(plane, queue, environment) == 1  # type: ignore[arg-type]
    plane.groups = [group(open=9, count=9)]
    assert feed(plane, queue, environment) == 0  # type: ignore[arg-type]
    (task,) = found(queue)
    assert task.subject == {"dataset": "flights", "fingerprint": "0" * 16}
    ann = make_reviewer(environment.org)
    claim_task(actor=ann, task=task)
    decide_task(actor=ann, task=task, verdict="discard")
    assert feed(plane, queue, environment) == 0, "its verdict is not carried out yet"  # type: ignore[arg-type]
    from headwater.control.reviews.delivery import CARRIER, record_delivery

    record_delivery(actor=CARRIER, task=task, result={"discarded": 9})
    assert feed(plane, queue, environment) == 1, "rows that came after the verdict"  # type: ignore[arg-type]


def test_a_group_that_somebody_cleared_elsewhere_is_cancelled(environment: Environment) -> None:
    queue, plane = make_queue(environment, GROUPS % "flights", key="refused"), FakePlane(groups=[group()])
    feed(plane, queue, environment)  # type: ignore[arg-type]
    plane.groups = [group(open=0)]
    feed(plane, queue, environment)  # type: ignore[arg-type]
    assert [task.state for task in found(queue)] == ["cancelled"]
    assert events(environment.org, "reviews.task.cancelled")


def test_a_condition_chooses_groups(environment: Environment) -> None:
    text = GROUPS % "flights" + "condition: code = 'out_of_range' and open > 2\n"
    queue = make_queue(environment, text, key="refused")
    plane = FakePlane(groups=[group("1" * 16), group("2" * 16, open=1), group("3" * 16, code="missing_field")])
    feed(plane, queue, environment)  # type: ignore[arg-type]
    assert [task.subject["fingerprint"] for task in found(queue)] == ["1" * 16]


def test_single_rows_become_tasks_page_by_page_and_late_ones_are_found(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "BATCH", 4)
    queue = make_queue(environment, ROWS % "flights", key="rows")
    rows = [kept_row() for _ in range(10)]
    late, rows = rows[7], rows[:7] + rows[8:]
    plane = FakePlane(rows=[*rows, kept_row(state="discarded")])
    assert feed(plane, queue, environment) == 9  # type: ignore[arg-type]
    plane.rows.append(late)
    assert feed(plane, queue, environment) == 1, "it became durable after newer ones"  # type: ignore[arg-type]
    assert len(found(queue)) == 10


def test_more_rows_than_a_run_may_read_are_read_by_the_next_ones(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "BATCH", 2)
    monkeypatch.setattr(feeding, "PAGES", 2)
    queue = make_queue(environment, ROWS % "flights", key="rows")
    plane = FakePlane(rows=[kept_row() for _ in range(11)])
    assert [feed(plane, queue, environment) for _ in range(4)] == [4, 4, 3, 0]  # type: ignore[arg-type]


def test_services_that_are_away_lose_nothing_and_are_named(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, plane = make_queue(environment), FakePlane(scores=[0.5])
    monkeypatch.setattr(tasks, "connect_reviews", lambda: plane)
    plane.error = HeadwaterError("services_unavailable", "nobody answers")
    assert tasks.feed_queues() == 0
    assert "nobody answers" in ReviewCursor.objects.get(queue=queue).problem
    plane.error = None
    assert tasks.feed_queues() == 1
    assert ReviewCursor.objects.get(queue=queue).problem == ""


def test_one_queue_that_fails_keeps_no_other_from_being_fed(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, fine = make_queue(environment, key="a-broken"), make_queue(environment, key="b-fine")
    plane = FakePlane(scores=[0.5])
    monkeypatch.setattr(tasks, "connect_reviews", lambda: plane)
    real = feed

    def feed_or_fail(services: Any, queue: ReviewQueue, environment: Environment) -> int:
        if queue == broken:
            raise ZeroDivisionError
        return real(services, queue, environment)

    monkeypatch.setattr(tasks, "feed", feed_or_fail)
    assert tasks.feed_queues() == 1
    assert len(found(fine)) == 1
    assert "ZeroDivisionError" in ReviewCursor.objects.get(queue=broken).problem
