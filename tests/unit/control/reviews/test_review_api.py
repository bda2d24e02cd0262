"""The control API of reviews and overrides, and queues in project directories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from tests.builders.control import make_environment
from tests.builders.http import Api, environment_path, with_session
from tests.builders.projects import flights, resources
from tests.builders.reviews import make_queue, make_scored_model, make_tasks

from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.payload import ResourceFile, Resources
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.reviews.models import ReviewQueue
from headwater.core.errors import HeadwaterError

QUEUE = """
source: quarantine
dataset: flights
condition: code = 'out_of_range'
reviewers: {decisions: 2}
sla: 2h
"""


@pytest.fixture
def reviewer(environment: Environment) -> Api:
    return with_session(environment, "operator")


def test_a_task_is_claimed_decided_and_shown(environment: Environment, reviewer: Api) -> None:
    make_tasks(make_queue(environment), environment, 2)
    path = environment_path(environment) + "/review"
    (queue,) = reviewer.get(f"{path}/queues").body["items"]
    assert (queue["key"], queue["standing"]["waiting"]) == ("uncertain", 2)
    assert queue["verdicts"] == ["confirm", "label", "override"]
    claimed = reviewer.post(f"{path}/claim", {"queue": "uncertain"})
    assert claimed.status == 200
    task = claimed.body
    assert task["payload"]["outputs"] == {"score": 0.5}
    assert reviewer.post(f"{path}/tasks/{task['id']}/renew").status == 200
    bad = reviewer.post(f"{path}/tasks/{task['id']}/decide", {"verdict": "label", "answers": {}})
    assert (bad.status, bad.body["errors"][0]["path"]) == (400, "late")
    done = reviewer.post(f"{path}/tasks/{task['id']}/decide", {"verdict": "label", "answers": {"late": True}})
    assert (done.status, done.body["state"], len(done.body["decisions"])) == (200, "decided", 1)
    mine = reviewer.get(f"{path}/tasks?state=open").body["items"]
    assert len(mine) == 1


def test_an_empty_queue_has_nothing_to_claim(environment: Environment, reviewer: Api) -> None:
    make_queue(environment)
    assert reviewer.post(f"{environment_path(environment)}/review/claim", {"queue": "uncertain"}).status == 204


def test_two_people_make_an_override(environment: Environment, reviewer: Api) -> None:
    make_scored_model(environment)
    path = environment_path(environment) + "/overrides"
    wanted = {
        "model": "delay", "output": "score", "key": {"carrier": "UA"}, "value": 0.1, "reason": "strike",
        "valid_until": (timezone.now() + timedelta(days=1)).isoformat(),
    }  # fmt: skip
    asked = reviewer.post(path, wanted)
    assert (asked.status, asked.body["phase"]) == (201, "requested")
    own = reviewer.post(f"{path}/{asked.body['id']}/approve", {})
    assert (own.status, own.body["code"]) == (403, "forbidden")
    colleague = with_session(environment, "operator")
    stale = colleague.post(f"{path}/{asked.body['id']}/approve", {"revision": 7})
    assert stale.status == 409
    approved = colleague.post(f"{path}/{asked.body['id']}/approve", {"revision": asked.body["revision"]})
    assert approved.body["phase"] == "in force"
    listed = reviewer.get(f"{path}?state=approved").body["items"]
    assert [one["id"] for one in listed] == [asked.body["id"]]
    revoked = reviewer.post(f"{path}/{asked.body['id']}/revoke", {"reason": "over"})
    assert revoked.body["phase"] == "revoked"


def test_another_organisation_sees_nothing_of_it(environment: Environment, reviewer: Api) -> None:
    (task,) = make_tasks(make_queue(environment), environment)
    other = make_environment("globex")
    stranger = with_session(other, "owner")
    for path in (environment_path(environment), environment_path(other)):
        for method, rest in (("GET", ""), ("POST", "/claim"), ("POST", "/decide")):
            body: Any = {"verdict": "label", "answers": {"late": True}} if rest == "/decide" else {}
            answer = stranger(method, f"{path}/review/tasks/{task.public_id}{rest}", body)
            assert answer.status == 404, (method, rest)
    assert stranger.post(f"{environment_path(other)}/review/claim", {"queue": "uncertain"}).status == 404
    assert reviewer.get(f"{environment_path(environment)}/review/tasks/{task.public_id}").status == 200


def test_who_may_not_decide_does_not_claim(environment: Environment) -> None:
    make_tasks(make_queue(environment), environment)
    analyst = with_session(environment, "analyst")
    answer = analyst.post(f"{environment_path(environment)}/review/claim", {"queue": "uncertain"})
    assert answer.status == 403


def test_a_queue_is_planned_applied_and_applied_again_without_change(environment: Environment, owner: Actor) -> None:
    project = _project(QUEUE)
    planned = plan_project(actor=owner, environment=environment, resources=project)
    assert ("review", "refused", "create") in {(one.kind, one.name, one.action) for one in planned.changes}
    assert not ReviewQueue.objects.for_org(environment.org).exists()
    apply_project(actor=owner, environment=environment, resources=project)
    queue = ReviewQueue.objects.for_org(environment.org).get()
    assert (queue.required_decisions, queue.sla_seconds, queue.subject) == (2, 7_200, "flights")
    again = apply_project(actor=owner, environment=environment, resources=project)
    assert {one.action for one in again.changes if one.kind == "review"} == {"unchanged"}
    changed = apply_project(actor=owner, environment=environment, resources=_project(QUEUE.replace("2h", "4h")))
    (change,) = [one for one in changed.changes if one.kind == "review"]
    assert (change.action, change.details) == ("update", ("sla_seconds: 7200 → 14400",))


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("source: quarantine\ndataset: nothing\n", "", "there is no dataset 'nothing'"),
        ("source: prediction\nmodel: delay\ncondition: scor > 1\n", "condition", "there is no name 'scor'"),
        ("source: prediction\nmodel: delay\n", "condition", "say which predictions"),
        ("source: quarantine\ncondition: codes = 'x'\n", "condition", "codes"),
        ("source: quarantine\ncondition: count\n", "condition", "it is a integer"),
        ("source: quarantine\nsla: soon\n", "sla", "is no duration"),
        ("source: quarantine\nunit: row\n", "dataset", "needs one"),
        ("source: quarantine\nfoo: 1\n", "foo", "not known here"),
        ("source: quarantine\nenvironments: [prod]\n", "environments[0]", "there is no environment 'prod'"),
        ("source: quarantine\noutcome: {label: late}\n", "outcome", "nothing to label"),
        ("source: sample\nmodel: delay\noutcome: {label: late}\n", "outcome.label", "does not ask for 'late'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_place(
    environment: Environment, owner: Actor, text: str, path: str, words: str
) -> None:
    make_scored_model(environment)
    with pytest.raises(HeadwaterError) as caught:
        apply_project(actor=owner, environment=environment, resources=_project(text))
    assert caught.value.code == "project_invalid"
    (fault,) = caught.value.extra["errors"]
    assert fault["source"] == "reviews/refused.yaml"
    assert words in fault["message"]
    assert fault["path"].startswith(path)


def test_a_queue_may_come_before_its_model_and_says_so(environment: Environment, owner: Actor) -> None:
    text = "source: prediction\nmodel: later\ncondition: score > 0.5\n"
    planned = plan_project(actor=owner, environment=environment, resources=_project(text))
    (change,) = [one for one in planned.changes if one.kind == "review"]
    assert "there is no model 'later' yet" in change.details[-1]


def _project(queue: str) -> Resources:
    base = resources({"datasets/flights.yaml": flights()}, {})
    return base.model_copy(update={"reviews": (ResourceFile(source="reviews/refused.yaml", text=queue),)})
