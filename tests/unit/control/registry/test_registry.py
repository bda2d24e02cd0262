"""Models: sealed versions, approval where it is needed, what is in use stays."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from tests.builders.control import events, make_member, newest_snapshot
from tests.builders.registry import make_content, make_model, make_version

from headwater.control.access.queries import actor_for_user
from headwater.control.catalog.actions import create_dataset
from headwater.control.features.actions import publish_view
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.actions import change_protection
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import (
    approve_version,
    archive_version,
    move_alias,
    promote_version,
    record_checks,
    register_version,
    remove_alias,
    route_model,
    tag_model,
    tag_version,
)
from headwater.control.registry.demands import CheckResult
from headwater.control.registry.models import AliasMove, Approval, Model, ModelAlias, ModelVersion
from headwater.control.registry.queries import get_version, list_dependents
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import RouteSpec


@pytest.fixture
def model(environment: Environment, owner: Actor) -> Model:
    return make_model(environment, actor=owner)


@pytest.fixture
def versions(model: Model, owner: Actor) -> list[ModelVersion]:
    return [make_version(model, digit, owner) for digit in "abc"]


@pytest.fixture
def colleague(environment: Environment) -> Actor:
    """Somebody else who may approve."""
    return actor_for_user(make_member(environment.org, "developer").user)


def route(version: int, weight: int = 10_000, role: str = "primary") -> RouteSpec:
    return RouteSpec.model_validate({"version": version, "weight_bps": weight, "role": role})


def test_versions_are_numbered_without_gaps(versions: list[ModelVersion]) -> None:
    assert [version.number for version in versions] == [1, 2, 3]


def test_promoting_moves_all_traffic_and_the_champion(
    environment: Environment, versions: list[ModelVersion], owner: Actor
) -> None:
    for version in versions[:2]:
        promote_version(actor=owner, version=version, environment=environment)
    spec = newest_snapshot(environment).models["delay"]
    assert [(item.version, item.weight_bps) for item in spec.routes] == [(2, 10_000)]
    assert ModelAlias.objects.for_org(environment.org).get().version.number == 2


def test_a_canary_and_a_shadow_share_the_traffic(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor
) -> None:
    assert versions
    routes = [route(1, 9_000), route(2, 1_000, "canary"), route(3, 10_000, "shadow")]
    route_model(actor=owner, model=model, environment=environment, routes=routes)
    spec = newest_snapshot(environment).models["delay"]
    assert {item.version: (item.role, item.weight_bps) for item in spec.routes} == {
        1: ("primary", 9_000),
        2: ("canary", 1_000),
        3: ("shadow", 10_000),
    }


@pytest.mark.parametrize(
    "routes",
    [
        [route(1, 9_999)],
        [route(1, 6_000), route(2, 6_000)],
        [route(1, role="shadow")],
        [route(1, 5_000), route(1, 5_000)],
    ],
)
def test_weights_that_do_not_sum_up_are_refused(
    environment: Environment, model: Model, versions: list[ModelVersion], owner: Actor, routes: list[RouteSpec]
) -> None:
    assert versions
    with pytest.raises(HeadwaterError) as caught:
        route_model(actor=owner, model=model, environment=environment, routes=routes)
    assert caught.value.code == "invalid_parameter"


def test_a_route_to_an_unknown_version_is_refused(environment: Environment, model: Model, owner: Actor) -> None:
    with pytest.raises(HeadwaterError) as caught:
        route_model(actor=owner, model=model, environment=environment, routes=[route(7)])
    assert caught.value.code == "not_found"


def test_a_protected_environment_serves_approved_versions_only(
    environment: Environment, versions: list[ModelVersion], owner: Actor, colleague: Actor
) -> None:
    change_protection(actor=owner, environment=environment, protected=True)
    with pytest.raises(HeadwaterError, match="not approved"):
        promote_version(actor=owner, version=versions[0], environment=environment)
    approve_version(actor=colleague, version=versions[0], reason="looked at it")
    promote_version(actor=owner, version=versions[0], environment=environment)
    assert newest_snapshot(environment).models["delay"].routes[0].version == 1


def test_a_version_in_use_is_not_archived_and_an_archived_one_not_served(
    environment: Environment, versions: list[ModelVersion], owner: Actor
) -> None:
    promote_version(actor=owner, version=versions[0], environment=environment)
    with pytest.raises(HeadwaterError, match="in use"):
        archive_version(actor=owner, version=versions[0])
    archive_version(actor=owner, version=versions[1])
    with pytest.raises(HeadwaterError, match="archived"):
        promote_version(actor=owner, version=versions[1], environment=environment)


@pytest.mark.parametrize("table", ["modelversion", "rollout", "aliasmove", "approval"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = 'x'", "DELETE FROM {}"])
def test_the_database_refuses_to_change_what_is_sealed(
    environment: Environment, versions: list[ModelVersion], owner: Actor, table: str, statement: str
) -> None:
    promote_version(actor=owner, version=versions[0], environment=environment)
    approve_version(actor=SYSTEM, version=versions[0], reason="good")
    column = "card" if table == "modelversion" else "reason"
    with pytest.raises(IntegrityError, match="sealed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(f"registry_{table}", column))


def test_a_bad_digest_is_refused(model: Model, owner: Actor) -> None:
    with pytest.raises(HeadwaterError, match="artifact_sha256"):
        register_version(actor=owner, model=model, content=make_content(artifact_sha256="ABC"))


def test_who_pushed_a_version_does_not_approve_it(versions: list[ModelVersion], owner: Actor) -> None:
    with pytest.raises(HeadwaterError) as caught:
        approve_version(actor=owner, version=versions[0], reason="mine")
    assert caught.value.code == "forbidden"
    assert "somebody else" in (caught.value.hint or "")


def test_an_approval_needs_a_reason_and_is_kept(versions: list[ModelVersion], owner: Actor, colleague: Actor) -> None:
    with pytest.raises(HeadwaterError, match="reason"):
        approve_version(actor=colleague, version=versions[0], reason="  ")
    approve_version(actor=colleague, version=versions[0], reason="compared on May")
    approval = Approval.objects.for_org(owner.subject.memberships.get().org_id).get()
    assert (approval.by_label, approval.reason, approval.overridden) == (colleague.label, "compared on May", [])
    assert versions[0].state == "approved"


def test_an_analyst_approves_nothing(environment: Environment, versions: list[ModelVersion]) -> None:
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    with pytest.raises(HeadwaterError) as caught:
        approve_version(actor=analyst, version=versions[0], reason="nice")
    assert caught.value.code == "forbidden"


def test_a_failed_check_blocks_the_approval_unless_it_is_overridden(
    environment: Environment, versions: list[ModelVersion], owner: Actor, colleague: Actor
) -> None:
    version = versions[0]
    failed = [CheckResult("license", "failed", "none"), CheckResult("size", "passed", "1 MB")]
    record_checks(actor=owner, version=version, results=failed)
    assert version.state == "registered"
    with pytest.raises(HeadwaterError, match="license: none") as caught:
        approve_version(actor=colleague, version=version, reason="good")
    assert caught.value.extra["failed"] == ["license"]
    approve_version(actor=colleague, version=version, reason="ours alone", override=True)
    assert Approval.objects.for_org(environment.org).get().overridden == ["license"]
    (event,) = events(environment.org, "registry.version.approved")
    assert event.reason == "ours alone"
    assert "license" in event.after_json + event.related_json


def test_checks_that_pass_validate_a_version_and_one_that_fails_takes_it_back(
    versions: list[ModelVersion], owner: Actor
) -> None:
    record_checks(actor=owner, version=versions[0], results=[CheckResult("size", "passed", "1 MB")])
    assert versions[0].state == "validated"
    record_checks(actor=owner, version=versions[0], results=[CheckResult("size", "failed", "9 MB")])
    assert versions[0].state == "registered"
    assert [(check.status, check.detail) for check in versions[0].checks.all()] == [("failed", "9 MB")]


def test_an_approval_looks_at_what_is_served_now(
    environment: Environment, model: Model, owner: Actor, colleague: Actor
) -> None:
    old = make_version(model, "a", owner, outputs=[{"name": "score", "type": "number"}])
    new = make_version(model, "b", owner, outputs=[{"name": "points", "type": "number"}])
    promote_version(actor=owner, version=old, environment=environment)
    with pytest.raises(HeadwaterError, match=r"output score: removed \(against version 1, served in dev\)"):
        approve_version(actor=colleague, version=new, reason="good")


def test_aliases_move_with_their_history(versions: list[ModelVersion], owner: Actor) -> None:
    for version in versions[:2]:
        move_alias(actor=owner, version=version, name="stable", reason="calm")
    alias = move_alias(actor=owner, version=versions[1], name="stable")
    remove_alias(actor=owner, alias=alias, reason="storm")
    moves = AliasMove.objects.for_org(alias.org_id).order_by("created_at")
    assert [
        (move.before and move.before.number, move.version and move.version.number, move.reason) for move in moves
    ] == [
        (None, 1, "calm"),
        (1, 2, "calm"),
        (2, None, "storm"),
    ]
    assert not ModelAlias.objects.for_org(alias.org_id).exists()


def test_a_version_is_found_by_number_alias_or_age(versions: list[ModelVersion], owner: Actor) -> None:
    move_alias(actor=owner, version=versions[0], name="stable")
    archive_version(actor=owner, version=versions[2])
    model = versions[0].model
    assert [get_version(model, name).number for name in ("3", "stable", "newest")] == [3, 1, 2]
    with pytest.raises(HeadwaterError, match="no version 'calm'") as caught:
        get_version(model, "calm")
    assert "stable" in (caught.value.hint or "")


def test_tags_are_set_and_taken_away(versions: list[ModelVersion], owner: Actor) -> None:
    tag_version(actor=owner, version=versions[0], tags={"team": "ops", "tier": "1"})
    assert tag_version(actor=owner, version=versions[0], tags={"tier": None}).tags == {"team": "ops"}
    assert tag_model(actor=owner, model=versions[0].model, tags={"team": "ops"}).tags == {"team": "ops"}
    with pytest.raises(HeadwaterError, match="tags"):
        tag_model(actor=owner, model=versions[0].model, tags={"x": "y" * 6_000})


def test_lineage_is_found_from_either_end(environment: Environment, model: Model, owner: Actor) -> None:
    features = [{"field": name, "view": "weather", "feature": name} for name in ("temp", "wind")]
    version = make_version(model, "a", owner, features=features, training={"dataset": "flights", "version": 12})
    make_version(model, "b", owner, training={"dataset": "planes"})
    on_flights = list_dependents(environment.project, dataset="flights")
    assert [(edge.version.number, edge.table_version) for edge in on_flights] == [(1, 12)]
    (read,) = list_dependents(environment.project, view="weather")
    assert (read.version, read.members) == (version, ["temp", "wind"])
    assert {edge.name for edge in version.lineage.all()} == {"flights", "weather"}


def test_what_a_version_says_reaches_the_snapshot(environment: Environment, model: Model, owner: Actor) -> None:
    version = make_version(
        model,
        "a",
        owner,
        framework="sklearn",
        options={"method": "predict_proba"},
        features=[{"field": "temp", "view": "weather", "feature": "temp"}],
        examples=[{"inputs": {"a": 1.0}, "outputs": {"score": 2.0}, "tolerance": 1e-4}],
        profile_sha256="f" * 64,
        memory_bytes=1 << 28,
        timeout_seconds=5.0,
    )
    with pytest.raises(HeadwaterError, match="reads the feature view 'weather', which is not served in dev"):
        promote_version(actor=owner, version=version, environment=environment)
    create_dataset(actor=owner, project=environment.project, name="observations")
    view = {"name": "weather", "dataset": "observations", "entities": ["origin"], "event_time": "at", "features": []}
    publish_view(actor=owner, environment=environment, spec=view, source="dataset: observations")
    promote_version(actor=owner, version=version, environment=environment)
    spec = newest_snapshot(environment).models["delay"].versions[1]
    assert (spec.framework, spec.options, spec.profile_sha256) == ("sklearn", {"method": "predict_proba"}, "f" * 64)
    assert (spec.memory_bytes, spec.timeout_seconds, spec.examples) == (1 << 28, 5.0, ({"a": 1.0},))
    assert [(item.field, item.view) for item in spec.features] == [("temp", "weather")]


def test_content_is_told_apart_by_all_it_says() -> None:
    first = make_content()
    assert first.digest() == make_content().digest()
    assert first.digest() == first.digest_of_first_release(), "what old releases pushed is known again"
    changed = [
        make_content("b"),
        make_content(license="MIT"),
        make_content(card="new"),
        make_content(metrics={"a": 1.0}),
    ]
    assert len({first.digest(), *(content.digest() for content in changed)}) == 5
