"""Models: sealed versions, routes whose weights sum up, approval where it is needed."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from tests.builders.control import newest_snapshot

from headwater.control.kit.actions import Actor
from headwater.control.orgs.actions import change_protection
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import (
    approve_version,
    archive_version,
    create_model,
    promote_version,
    register_version,
    route_model,
)
from headwater.control.registry.models import Model, ModelAlias, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import RouteSpec

SIGNATURE: dict[str, Any] = {
    "framework": "onnx",
    "inputs": {"name": "delay", "version": "1", "fields": []},
    "outputs": [{"name": "score", "type": "number"}],
    "metrics": {"mae": 1.5},
}


@pytest.fixture
def model(environment: Environment, owner: Actor) -> Model:
    return create_model(actor=owner, project=environment.project, name="delay")


@pytest.fixture
def versions(model: Model, owner: Actor) -> list[ModelVersion]:
    return [
        register_version(actor=owner, model=model, signature=SIGNATURE, artifact_sha256=digit * 64) for digit in "abc"
    ]


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
    environment: Environment, versions: list[ModelVersion], owner: Actor
) -> None:
    change_protection(actor=owner, environment=environment, protected=True)
    with pytest.raises(HeadwaterError, match="not approved"):
        promote_version(actor=owner, version=versions[0], environment=environment)
    approve_version(actor=owner, version=versions[0])
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


@pytest.mark.parametrize(
    "statement",
    ["UPDATE registry_modelversion SET artifact_sha256 = 'x'", "DELETE FROM registry_modelversion"],
)
def test_the_database_refuses_to_change_a_version(versions: list[ModelVersion], statement: str) -> None:
    assert versions
    with pytest.raises(IntegrityError, match="sealed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_bad_digest_is_refused(model: Model, owner: Actor) -> None:
    with pytest.raises(HeadwaterError, match="artifact_sha256"):
        register_version(actor=owner, model=model, signature=SIGNATURE, artifact_sha256="ABC")
