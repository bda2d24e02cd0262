"""How to run every action of the model registry once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.builders.registry import make_model, make_version

from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.registry import actions as registry
from headwater.control.registry.demands import CheckResult
from headwater.control.registry.models import ModelAlias, ModelVersion
from headwater.core.snapshot import RouteSpec, ServingSpec

Scenario = Callable[[Environment], object]


def _version(e: Environment) -> ModelVersion:
    return make_version(make_model(e))


def _promoted(e: Environment) -> ModelVersion:
    return registry.promote_version(actor=SYSTEM, version=_version(e), environment=e)


def _route(e: Environment) -> None:
    version = _version(e)
    routes = [RouteSpec(version=version.number)]
    registry.route_model(actor=SYSTEM, model=version.model, environment=e, routes=routes)


def _canary(e: Environment) -> ModelVersion:
    version = make_version(_promoted(e).model, "b")
    return registry.deploy_version(actor=SYSTEM, version=version, environment=e, role="canary", weight_bps=1_000)


def _rules(e: Environment) -> None:
    registry.change_serving(actor=SYSTEM, model=make_model(e), environment=e, rules=ServingSpec(cache_entries=10))


def _alias(e: Environment) -> ModelAlias:
    return registry.move_alias(actor=SYSTEM, version=_version(e), name="stable")


SCENARIOS: Final[dict[str, Scenario]] = {
    "registry.model.created": make_model,
    "registry.model.described": lambda e: registry.describe_model(
        actor=SYSTEM, model=make_model(e), description="Delay"
    ),
    "registry.model.tagged": lambda e: registry.tag_model(actor=SYSTEM, model=make_model(e), tags={"team": "ops"}),
    "registry.model.routed": _route,
    "registry.version.registered": _version,
    "registry.version.tagged": lambda e: registry.tag_version(actor=SYSTEM, version=_version(e), tags={"tier": "1"}),
    "registry.version.checked": lambda e: registry.record_checks(
        actor=SYSTEM, version=_version(e), results=[CheckResult("size", "passed", "1 MB")]
    ),
    "registry.version.approved": lambda e: registry.approve_version(actor=SYSTEM, version=_version(e), reason="good"),
    "registry.version.archived": lambda e: registry.archive_version(actor=SYSTEM, version=_version(e)),
    "registry.version.promoted": _promoted,
    "registry.version.deployed": _canary,
    "registry.version.rolled_back": lambda e: registry.roll_back(actor=SYSTEM, model=_canary(e).model, environment=e),
    "registry.serving.changed": _rules,
    "registry.alias.moved": _alias,
    "registry.alias.removed": lambda e: registry.remove_alias(actor=SYSTEM, alias=_alias(e)),
}
