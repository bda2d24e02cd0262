"""A home of the first release: its models go on being served, and what they were is written down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from tests.builders.control import make_environment, newest_snapshot
from tests.builders.registry import INPUTS, OUTPUTS, make_content

from headwater.control.catalog.model_content import find_version
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import promote_version, roll_back
from headwater.control.registry.models import Model, Rollout
from headwater.control.registry.queries import get_version
from headwater.core.ids import new_uuid

FIRST = [("registry", "0002_seal_versions")]


def migrate(targets: list[tuple[str, str]]) -> Any:
    """Go to a state of the migrations and return the models as they are there."""
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return executor.loader.project_state(targets).apps


@pytest.fixture
def first_release(committed: None) -> Iterator[Environment]:
    """An environment whose registry is of the first release, with a model that has two versions and a canary."""
    # Going back takes the tables of every application that builds on the registry along: all must come again.
    newest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    environment = make_environment()
    apps = migrate(FIRST)
    try:
        _fill(apps, environment)
        yield environment
    finally:
        migrate(newest)


def _fill(apps: Any, environment: Environment) -> None:
    own = {"org_id": environment.org_id}
    model = apps.get_model("registry", "Model").unscoped.create(
        id=new_uuid(), project_id=environment.project_id, name="delay", description="", **own
    )
    versions = [
        apps.get_model("registry", "ModelVersion").unscoped.create(
            id=new_uuid(), model=model, number=number, framework="onnx", artifact_sha256=digit * 64, inputs=INPUTS,
            outputs=OUTPUTS, metrics={"mae": 1.5}, spec_sha256=make_content(digit).digest_of_first_release(),
            source="name: delay", **own,
        )
        for number, digit in ((1, "a"), (2, "b"))
    ]  # fmt: skip
    for version, role, weight in ((versions[0], "primary", 9_000), (versions[1], "canary", 1_000)):
        apps.get_model("registry", "Deployment").unscoped.create(
            id=new_uuid(), environment_id=environment.pk, model=model, version=version, role=role, weight_bps=weight,
            **own,
        )  # fmt: skip


def test_a_home_of_the_first_release_goes_on(first_release: Environment) -> None:
    environment = first_release
    migrate([("registry", "0005_seal_history")])

    model = Model.objects.for_org(environment.org).get()
    rollout = Rollout.objects.for_org(environment.org).get()
    assert (rollout.number, rollout.cause, rollout.champion) == (1, "found", get_version(model, "1"))
    assert rollout.routes == [
        {"version": 1, "role": "primary", "weight_bps": 9_000},
        {"version": 2, "role": "canary", "weight_bps": 1_000},
    ]
    known = find_version(model, make_content("b", metrics={"mae": 1.5}, license="MIT"))
    assert known == get_version(model, "2"), "what is pushed again is known, whatever else is said of it now"
    assert find_version(model, make_content("c")) is None
    promote_version(actor=SYSTEM, version=get_version(model, "2"), environment=environment)
    assert newest_snapshot(environment).models["delay"].versions[2].artifact_sha256 == "b" * 64
    assert roll_back(actor=SYSTEM, model=model, environment=environment).champion == get_version(model, "1")
    with pytest.raises(IntegrityError, match="sealed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE registry_modelversion SET license = 'MIT'")


def test_going_back_seals_what_the_first_release_sealed(first_release: Environment) -> None:
    with pytest.raises(IntegrityError, match="sealed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE registry_modelversion SET artifact_sha256 = 'x'")
    assert first_release.key == "dev"
