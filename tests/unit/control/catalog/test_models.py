"""Models of a project directory: what a plan says about them, checks, serving rules, features; and pushing one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders.control import make_member, newest_snapshot
from tests.builders.onnx_models import linear
from tests.builders.projects import DELAY_MODEL, flights

from headwater.control import configuration
from headwater.control.access.queries import actor_for_user
from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.payload import ModelFile, Outcome, ResourceFile, Resources
from headwater.control.catalog.push import check_again, push_model
from headwater.control.kit.actions import Actor
from headwater.control.orgs.actions import change_protection
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import change_serving, promote_version
from headwater.control.registry.models import LineageEdge, Model, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.engines.blobs import open_blobs

VIEW = """\
dataset: flights
entities: [carrier]
event_time: at
features:
  - {name: mean_delay, aggregate: mean, column: delay, window: 3h}
  - {name: home, column: carrier}
"""
AT = "      - name: at\n        logicalType: timestamp\n        required: true\n"
READS = "features: [{{field: hour, view: {view}, feature: {feature}}}]\n"
PAPERS = "license: MIT\ntraining: {dataset: flights, version: 3}\n"


def put(*weights: float) -> str:
    return open_blobs(configuration.current()).put(linear(list(weights or (1.0, 2.0))))


def resources(text: str = DELAY_MODEL, sha256: str | None = None, *, view: str | None = None) -> Resources:
    model = ModelFile(source="models/delay/model.yaml", text=text, artifact_sha256=sha256 or put())
    views = (ResourceFile(source="features/recent.yaml", text=view),) if view is not None else ()
    dataset = ResourceFile(source="datasets/flights.yaml", text=flights(more=AT))
    return Resources(datasets=(dataset,), features=views, models=(model,))


def about(outcome: Outcome) -> tuple[str, list[str]]:
    change = next(change for change in outcome.changes if change.kind == "model")
    return change.action, list(change.details)


def refused(owner: Actor, environment: Environment, project: Resources) -> list[dict[str, str]]:
    with pytest.raises(HeadwaterError) as caught:
        apply_project(actor=owner, environment=environment, resources=project)
    found: list[dict[str, str]] = caught.value.extra["errors"]
    return found


def version(environment: Environment, number: int = 1) -> ModelVersion:
    found: ModelVersion = ModelVersion.objects.for_org(environment.org).get(number=number)
    return found


def test_a_plan_shows_what_the_checks_found(environment: Environment, owner: Actor) -> None:
    action, details = about(plan_project(actor=owner, environment=environment, resources=resources()))
    assert action == "create"
    assert details[0].startswith("version 1 (")
    assert details[0].endswith("takes all traffic")
    assert "2 failed" in details[1]
    assert "check license failed: it has no license; add one to model.yaml" in details
    assert "check training_data failed: training.dataset is not given" in details


def test_what_was_found_is_kept_with_the_version(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=resources(DELAY_MODEL + PAPERS))
    row = version(environment)
    found = {check.name: check.status for check in row.checks.all()}
    assert found["signature"] == "skipped"
    assert {found[name] for name in ("license", "training_data", "pickle", "size")} == {"passed"}
    assert (row.state, row.license, row.pushed_by) == ("validated", "MIT", owner.id)
    edge = LineageEdge.objects.for_org(environment.org).get()
    assert (edge.name, edge.table_version) == ("flights", 3)


def test_a_version_that_its_author_would_not_serve_takes_no_traffic(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=resources())
    short = DELAY_MODEL + "checks: {min_metrics: {mae: 50}}\n"
    outcome = apply_project(actor=owner, environment=environment, resources=resources(short))
    assert about(outcome)[1][0].endswith("takes no traffic: a check failed")
    assert [route.version for route in newest_snapshot(environment).models["delay"].routes] == [1]


def test_golden_rows_are_run_and_one_that_differs_keeps_the_traffic_away(
    environment: Environment, owner: Actor
) -> None:
    golden = DELAY_MODEL + "examples: [{inputs: {distance: 1.0, hour: 2.0}, outputs: {score: 5.0}}]\n"
    right = about(apply_project(actor=owner, environment=environment, resources=resources(golden)))
    assert right[1][0].endswith("takes all traffic")
    other = resources(golden.replace("score: 5.0", "score: 6.0"))
    wrong = about(apply_project(actor=owner, environment=environment, resources=other))
    assert wrong[1][0].endswith("takes no traffic: a check failed")
    assert "check golden_rows failed: examples[0]: score is 5.0 and should be 6.0" in wrong[1]
    assert [route.version for route in newest_snapshot(environment).models["delay"].routes] == [1]


def test_a_broken_signature_is_named_in_the_plan(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=resources())
    renamed = DELAY_MODEL.replace("name: score, type", "name: minutes, source: score, type")
    details = about(plan_project(actor=owner, environment=environment, resources=resources(renamed)))[1]
    assert any("check signature failed: output score: removed (against version 1" in line for line in details)


def test_serving_rules_are_applied_and_a_persons_change_stays(environment: Environment, owner: Actor) -> None:
    ruled = DELAY_MODEL + "serving: {max_concurrency: 8, rollback: {max_error_bps: 100}}\n"
    details = about(apply_project(actor=owner, environment=environment, resources=resources(ruled)))[1]
    assert "serving.max_concurrency: 256 -> 8" in details
    assert "serving.rollback: none -> max_error_bps 100" in details
    model = Model.objects.for_org(environment.org).get()
    assert newest_snapshot(environment).models["delay"].serving.max_concurrency == 8

    change_serving(actor=owner, model=model, environment=environment, rules=ServingSpec(max_concurrency=99))
    again = apply_project(actor=owner, environment=environment, resources=resources(ruled))
    assert about(again) == ("unchanged", [])
    assert newest_snapshot(environment).models["delay"].serving.max_concurrency == 99

    back = apply_project(actor=owner, environment=environment, resources=resources())
    assert "serving.max_concurrency: 99 -> 256" in about(back)[1]


def test_what_changes_about_a_version_makes_another(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=resources())
    licensed = apply_project(actor=owner, environment=environment, resources=resources(DELAY_MODEL + PAPERS))
    assert about(licensed)[1][0].startswith("version 2 (")
    back = apply_project(actor=owner, environment=environment, resources=resources())
    assert about(back) == ("unchanged", [])


def test_features_are_found_among_declared_and_stored_views(environment: Environment, owner: Actor) -> None:
    reads = DELAY_MODEL + READS.format(view="recent", feature="mean_delay")
    apply_project(actor=owner, environment=environment, resources=resources(reads, view=VIEW))
    spec = newest_snapshot(environment).models["delay"].versions[1]
    assert [(item.field, item.feature) for item in spec.features] == [("hour", "mean_delay")]
    again = apply_project(actor=owner, environment=environment, resources=resources(reads))
    assert about(again) == ("unchanged", [])


@pytest.mark.parametrize(
    ("view", "feature", "message"),
    [
        ("nothing", "x", "there is no feature view 'nothing'; there are: recent"),
        ("recent", "median", "'recent' has no feature 'median'; it has: mean_delay, home"),
        ("recent", "home", "the input 'hour' is number and 'home' is string"),
    ],
)
def test_features_that_will_not_be_there_are_refused(
    environment: Environment, owner: Actor, view: str, feature: str, message: str
) -> None:
    reads = DELAY_MODEL + READS.format(view=view, feature=feature)
    (error,) = refused(owner, environment, resources(reads, view=VIEW))
    assert (error["path"], error["message"]) == ("features[0]", message)


def test_a_view_that_is_not_kept_online_serves_no_model(environment: Environment, owner: Actor) -> None:
    reads = DELAY_MODEL + READS.format(view="recent", feature="mean_delay")
    (error,) = refused(owner, environment, resources(reads, view=VIEW + "online: false\n"))
    assert "not kept online" in error["message"]


def test_a_profile_that_was_not_put_is_refused(environment: Environment, owner: Actor) -> None:
    model = ModelFile(
        source="models/delay/model.yaml", text=DELAY_MODEL, artifact_sha256=put(), profile_sha256="f" * 64
    )
    (error,) = refused(owner, environment, Resources(models=(model,)))
    assert error["path"] == "reference"


def entry(text: str = DELAY_MODEL + PAPERS, **more: Any) -> dict[str, Any]:
    return {"text": text, "artifact_sha256": put(), **more}


def test_a_push_registers_once_and_serves_where_it_may(environment: Environment, owner: Actor) -> None:
    first = push_model(actor=owner, environment=environment, file=entry())
    again = push_model(actor=owner, environment=environment, file=entry())
    assert (first.created, again.created, again.version) == (True, False, first.version)
    assert [route.version for route in newest_snapshot(environment).models["delay"].routes] == [1]


def test_a_push_can_hold_back(environment: Environment, owner: Actor) -> None:
    push_model(actor=owner, environment=environment, file=entry())
    held = push_model(actor=owner, environment=environment, file=entry(artifact_sha256=put(3.0, 4.0), hold=True))
    assert held.version.number == 2
    assert [route.version for route in newest_snapshot(environment).models["delay"].routes] == [1]
    promote_version(actor=owner, version=held.version, environment=environment)


def test_a_push_to_a_protected_environment_waits_for_an_approval(environment: Environment, owner: Actor) -> None:
    change_protection(actor=owner, environment=environment, protected=True)
    pushed = push_model(actor=owner, environment=environment, file=entry())
    assert pushed.version.state == "validated"
    assert newest_snapshot(environment).models == {}


def test_an_analyst_pushes_nothing(environment: Environment) -> None:
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    with pytest.raises(HeadwaterError) as caught:
        push_model(actor=analyst, environment=environment, file=entry())
    assert caught.value.code == "forbidden"
    assert not Model.objects.for_org(environment.org).exists()


def test_a_version_is_checked_again_from_what_is_kept(environment: Environment, owner: Actor) -> None:
    pushed = push_model(actor=owner, environment=environment, file=entry())
    before = {check.name: check.status for check in pushed.version.checks.all()}
    results = {result.name: result.status for result in check_again(pushed.version)}
    assert set(results) == set(before)
    assert results["license"] == "passed"
