"""Rollouts: canaries, shadows and pins beside the champion, and the way back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.builders.control import events, newest_snapshot
from tests.builders.registry import make_model, make_version
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.catalog.data_plane import ModelHealth
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.kit.models import Outbox
from headwater.control.orgs.actions import change_protection, create_environment
from headwater.control.orgs.models import Environment
from headwater.control.registry import watch
from headwater.control.registry.actions import (
    approve_version,
    archive_version,
    change_serving,
    deploy_version,
    promote_version,
    roll_back,
    route_model,
)
from headwater.control.registry.models import Model, ModelVersion, Rollout
from headwater.control.registry.queries import find_fallback, list_champions
from headwater.control.registry.rollouts import WATCH
from headwater.control.registry.tasks import watch_deployments
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import RollbackSpec, RouteSpec, ServingSpec

__all__ = ["no_services", "services"]


@pytest.fixture
def model(environment: Environment, owner: Actor) -> Model:
    return make_model(environment, actor=owner)


@pytest.fixture
def versions(model: Model, owner: Actor) -> list[ModelVersion]:
    return [make_version(model, digit, owner) for digit in "abcd"]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe a trip however young the rollout is."""
    monkeypatch.setattr(watch, "SETTLING", timedelta(0))


def promote(owner: Actor, environment: Environment, *versions: ModelVersion) -> None:
    for version in versions:
        promote_version(actor=owner, version=version, environment=environment)


def canary(owner: Actor, environment: Environment, version: ModelVersion, weight: int = 1_000) -> None:
    deploy_version(actor=owner, version=version, environment=environment, role="canary", weight_bps=weight)


def served(environment: Environment) -> dict[int, tuple[str, int]]:
    routes = newest_snapshot(environment).models["delay"].routes
    return {route.version: (route.role, route.weight_bps) for route in routes}


def aliases(model: Model) -> dict[str, int]:
    return {alias.name: alias.version.number for alias in model.aliases.select_related("version")}


def changes_in(event: Any) -> list[str]:
    """Return what the audit log says a promotion or rollback changed."""
    told = [json.loads(event.after_json), *(row["after"] for row in json.loads(event.related_json))]
    return [change for after in told for change in after.get("changes", ())]


def health(version: int, tripped: str | None = "errors 12 % of 60") -> list[ModelHealth]:
    return [ModelHealth.model_validate({"model": "delay", "versions": [{"version": version, "tripped": tripped}]})]


def test_a_rollback_lets_the_champion_before_answer_and_says_why(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    rollout = roll_back(actor=owner, model=model, environment=environment, reason="too slow")
    assert served(environment) == {1: ("primary", 10_000)}
    assert aliases(model) == {"champion": 1}
    assert (rollout.number, rollout.cause, rollout.reason) == (3, "rolled_back", "too slow")
    (event,) = events(environment.org, "registry.version.rolled_back")
    assert (event.target_label, event.reason) == ("delay v2", "too slow")
    told = Outbox.objects.get(topic="model.rolled_back").payload
    assert (told["model"], told["from"], told["to"], told["automatic"]) == ("delay", [2], 1, False)


def test_rolling_back_twice_goes_two_promotions_back_and_not_to_and_fro(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:3])
    assert roll_back(actor=owner, model=model, environment=environment).champion == versions[1]
    assert roll_back(actor=owner, model=model, environment=environment).champion == versions[0]
    with pytest.raises(HeadwaterError, match="no version was champion of delay in dev before delay v1") as caught:
        roll_back(actor=owner, model=model, environment=environment)
    assert caught.value.code == "conflict"
    assert served(environment) == {1: ("primary", 10_000)}


def test_a_rollback_skips_what_may_not_be_served_any_more(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:3])
    archive_version(actor=owner, version=versions[1])
    assert roll_back(actor=owner, model=model, environment=environment).champion == versions[0]


def test_environments_have_histories_of_their_own(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    other = create_environment(actor=owner, project=environment.project, key="prod")
    promote(owner, environment, *versions[:2])
    promote(owner, other, versions[2])
    with pytest.raises(HeadwaterError, match="prod"):
        roll_back(actor=owner, model=model, environment=other)
    assert roll_back(actor=owner, model=model, environment=environment).champion == versions[0]
    assert served(other) == {3: ("primary", 10_000)}
    assert aliases(model) == {"champion": 3}, "it names what prod runs, which was not rolled back"


def test_a_canary_takes_its_share_from_the_champion_and_a_rollback_ends_it(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, versions[0])
    canary(owner, environment, versions[1])
    canary(owner, environment, versions[2], 500)
    assert served(environment) == {1: ("primary", 8_500), 2: ("canary", 1_000), 3: ("canary", 500)}
    assert aliases(model) == {"champion": 1, "challenger": 3}
    roll_back(actor=owner, model=model, environment=environment)
    assert served(environment) == {1: ("primary", 10_000)}
    assert aliases(model) == {"champion": 1}


def test_one_version_is_taken_out_and_the_others_stay(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    canary(owner, environment, versions[2])
    roll_back(actor=owner, model=model, environment=environment, version=versions[1])
    assert served(environment) == {1: ("primary", 9_000), 3: ("canary", 1_000)}
    with pytest.raises(HeadwaterError, match="delay v4 is not served in dev"):
        roll_back(actor=owner, model=model, environment=environment, version=versions[3])


def test_a_champion_that_becomes_a_canary_gives_its_place_to_the_one_before(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    canary(owner, environment, versions[1])
    assert served(environment) == {1: ("primary", 9_000), 2: ("canary", 1_000)}
    assert aliases(model) == {"champion": 1, "challenger": 2}
    assert [version.number for version in list_champions(model, environment.pk)] == [1]


def test_a_canary_needs_a_champion_and_leaves_it_something(
    environment: Environment, versions: list[ModelVersion], owner: Actor
) -> None:
    with pytest.raises(HeadwaterError, match="no other version of delay can answer the rest in dev"):
        canary(owner, environment, versions[0])
    promote(owner, environment, versions[0])
    with pytest.raises(HeadwaterError, match="no other version"):
        canary(owner, environment, versions[0])
    for weight in (0, 10_000):
        with pytest.raises(HeadwaterError, match="canary cannot have"):
            canary(owner, environment, versions[1], weight)


def test_shadows_and_pins_stay_when_another_version_is_promoted(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, versions[0])
    for version, role in ((versions[1], "shadow"), (versions[2], "pinned")):
        deploy_version(actor=owner, version=version, environment=environment, role=role, weight_bps=2_000)
    promote(owner, environment, versions[3])
    assert served(environment) == {4: ("primary", 10_000), 2: ("shadow", 2_000)}
    assert set(newest_snapshot(environment).models["delay"].versions) == {2, 3, 4}
    with pytest.raises(HeadwaterError, match="answers requests"):
        deploy_version(actor=owner, version=versions[3], environment=environment, role="shadow", weight_bps=1)
    promote(owner, environment, versions[1])
    assert served(environment) == {2: ("primary", 10_000)}
    assert aliases(model)["champion"] == 2


def test_promoting_the_challenger_leaves_its_name_to_what_else_is_tried(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, versions[0])
    for version in versions[1:3]:
        deploy_version(actor=owner, version=version, environment=environment, role="shadow", weight_bps=2_000)
    assert aliases(model) == {"champion": 1, "challenger": 3}
    promote(owner, environment, versions[2])
    assert served(environment) == {3: ("primary", 10_000), 2: ("shadow", 2_000)}
    assert aliases(model) == {"champion": 3, "challenger": 2}
    event = events(environment.org, "registry.version.promoted")[-1]
    assert changes_in(event) == [
        "version 1: primary 100 %, now not served",
        "version 3: shadow 20 %, now primary 100 %",
        "challenger: version 3, now version 2",
        "champion: version 1, now version 3",
    ]


def test_a_shadow_that_was_promoted_is_one_again_after_the_rollback(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, versions[0])
    deploy_version(actor=owner, version=versions[1], environment=environment, role="shadow", weight_bps=2_000)
    before = served(environment), aliases(model)
    promote(owner, environment, versions[1])
    assert (served(environment), aliases(model)) == ({2: ("primary", 10_000)}, {"champion": 2})
    roll_back(actor=owner, model=model, environment=environment)
    assert (served(environment), aliases(model)) == before
    (event,) = events(environment.org, "registry.version.rolled_back")
    assert "challenger: nothing, now version 2" in changes_in(event)


def test_a_shadow_of_another_version_stays_in_a_rollback(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    deploy_version(actor=owner, version=versions[2], environment=environment, role="shadow", weight_bps=2_000)
    roll_back(actor=owner, model=model, environment=environment)
    assert served(environment) == {1: ("primary", 10_000), 3: ("shadow", 2_000)}
    assert aliases(model) == {"champion": 1, "challenger": 3}


def test_what_headwater_takes_back_is_no_shadow_again(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, versions[0])
    deploy_version(actor=owner, version=versions[1], environment=environment, role="shadow", weight_bps=2_000)
    promote(owner, environment, versions[1])
    roll_back(actor=WATCH, model=model, environment=environment)
    assert served(environment) == {1: ("primary", 10_000)}


def test_routes_are_replaced_with_their_pins(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    routes = [RouteSpec(version=1, weight_bps=6_000), RouteSpec(version=2, weight_bps=4_000)]
    rollout = route_model(actor=owner, model=model, environment=environment, routes=routes, pinned=[4])
    assert rollout is not None
    assert rollout.champion == versions[0]
    assert set(newest_snapshot(environment).models["delay"].versions) == {1, 2, 4}
    assert route_model(actor=owner, model=model, environment=environment, routes=routes, pinned=[4]) is None
    only = [RouteSpec(version=1, role="canary")]
    with pytest.raises(HeadwaterError, match="no route is primary"):
        route_model(actor=owner, model=model, environment=environment, routes=only)


def test_rules_are_kept_by_environment_and_with_their_history(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    assert newest_snapshot(environment).models["delay"].serving == ServingSpec()
    rules = ServingSpec(max_concurrency=8, rollback=RollbackSpec(max_p99_ms=20.0))
    change_serving(actor=owner, model=model, environment=environment, rules=rules, reason="slow machine")
    spec = newest_snapshot(environment).models["delay"]
    assert spec.serving == rules
    promote(owner, environment, versions[2])
    assert newest_snapshot(environment).models["delay"].serving == rules, "a promotion leaves the rules alone"
    causes = Rollout.objects.for_org(environment.org).order_by("number").values_list("number", "cause", "reason")
    assert list(causes)[2:] == [(3, "ruled", "slow machine"), (4, "promoted", "")]
    assert change_serving(actor=owner, model=model, environment=environment, rules=rules) is None


def test_the_fallback_is_loaded_where_a_trip_may_need_it(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    before = newest_snapshot(environment).models["delay"]
    assert (before.fallback, set(before.versions)) == (None, {2})
    change_serving(
        actor=owner, model=model, environment=environment, rules=ServingSpec(rollback=RollbackSpec(max_error_bps=100))
    )
    after = newest_snapshot(environment).models["delay"]
    assert (after.fallback, set(after.versions)) == (1, {1, 2})
    archive_version(actor=owner, version=versions[0])
    assert newest_snapshot(environment).models["delay"].fallback is None


def test_a_protected_environment_falls_back_to_approved_versions_alone(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    change_protection(actor=owner, environment=environment, protected=True)
    assert find_fallback(model, environment.pk, protected=True) is None
    with pytest.raises(HeadwaterError, match="no version was champion"):
        roll_back(actor=owner, model=model, environment=environment)


def test_a_tripped_version_is_rolled_back_once_by_the_system(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor, settled: None
) -> None:
    promote(owner, environment, *versions[:2])
    assert watch.take_back(environment, health(2)) == 1
    assert watch.take_back(environment, health(2)) == 0
    assert served(environment) == {1: ("primary", 10_000)}
    (event,) = events(environment.org, "registry.version.rolled_back")
    assert (event.actor_kind, event.actor_label) == ("system", "Headwater, watching deployments")
    assert event.reason == "tripped: errors 12 % of 60"
    assert Outbox.objects.get(topic="model.rolled_back").payload["automatic"] is True
    assert aliases(model) == {"champion": 1}


def test_a_tripped_canary_ends_and_the_others_stay(
    environment: Environment, versions: list[ModelVersion], owner: Actor, settled: None
) -> None:
    promote(owner, environment, versions[0])
    canary(owner, environment, versions[1])
    canary(owner, environment, versions[2])
    assert watch.take_back(environment, health(2)) == 1
    assert served(environment) == {1: ("primary", 9_000), 3: ("canary", 1_000)}


def test_a_trip_that_may_speak_of_what_was_before_is_not_believed_yet(
    environment: Environment, versions: list[ModelVersion], owner: Actor
) -> None:
    promote(owner, environment, *versions[:2])
    assert watch.take_back(environment, health(2)) == 0
    assert served(environment) == {2: ("primary", 10_000)}


@pytest.mark.parametrize("report", [health(1), health(1, None), health(9), []])
def test_nothing_happens_where_there_is_nothing_to_go_back_to_or_nothing_tripped(
    environment: Environment, versions: list[ModelVersion], owner: Actor, settled: None, report: Any
) -> None:
    promote(owner, environment, versions[0])
    assert watch.take_back(environment, report) == 0
    assert served(environment) == {1: ("primary", 10_000)}


def test_the_task_asks_the_services_about_every_environment(
    environment: Environment, versions: list[ModelVersion], owner: Actor, settled: None, services: FakeServices
) -> None:
    promote(owner, environment, *versions[:2])
    services.models[environment.public_id] = [report.model_dump() for report in health(2)]
    assert watch_deployments() == 1
    assert watch_deployments() == 0


def test_the_task_does_nothing_while_the_services_are_away(
    environment: Environment, versions: list[ModelVersion], owner: Actor, no_services: None
) -> None:
    promote(owner, environment, versions[0])
    assert watch_deployments() == 0


def test_an_approved_version_stays_approved_whatever_is_rolled_back(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    change_protection(actor=owner, environment=environment, protected=True)
    for version in versions[:2]:
        approve_version(actor=SYSTEM, version=version, reason="good")
    promote(owner, environment, *versions[:2])
    assert roll_back(actor=owner, model=model, environment=environment).champion == versions[0]
    versions[1].refresh_from_db()
    assert versions[1].state == "approved"
