"""One way to run every action of the catalogue and the registry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tests.builders.datasets import make_contract

from headwater.control.access.authority import Scope
from headwater.control.catalog import actions as catalog
from headwater.control.catalog import quarantine
from headwater.control.catalog.apply import apply_project
from headwater.control.catalog.data_plane import QuarantineGroup
from headwater.control.catalog.models import ContractVersion, Dataset, Endpoint, QuarantineCase
from headwater.control.catalog.payload import Resources
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.registry import actions as registry
from headwater.control.registry.models import Model, ModelVersion
from headwater.core.snapshot import RouteSpec

Scenario = Callable[[Environment], object]
NOW = datetime(2026, 11, 24, tzinfo=UTC)
GROUP = QuarantineGroup(
    fingerprint="f", dataset="orders", code="out_of_range", count=3, open=2, first_at=NOW, last_at=NOW
)
ORDERS = """
apiVersion: v3.1.0
kind: DataContract
id: orders
name: orders
version: "1.0"
status: active
schema:
  - name: orders
    properties:
      - name: id
        logicalType: string
        required: true
"""
SIGNATURE: dict[str, Any] = {
    "framework": "onnx",
    "inputs": {"name": "delay", "version": "1", "fields": []},
    "outputs": [{"name": "minutes", "type": "number"}],
}


def _dataset(e: Environment) -> Dataset:
    return catalog.create_dataset(actor=SYSTEM, project=e.project, name="orders")


def _contract(e: Environment) -> ContractVersion:
    return catalog.draft_contract(actor=SYSTEM, dataset=_dataset(e), contract=make_contract(), source="name: orders")


def _restore(e: Environment) -> None:
    dataset = catalog.archive_dataset(actor=SYSTEM, dataset=_dataset(e), reason="old")
    catalog.restore_dataset(actor=SYSTEM, dataset=dataset)


def _endpoint(e: Environment) -> Endpoint:
    revision = catalog.publish_endpoint(
        actor=SYSTEM, environment=e, name="totals", spec={"sql": "SELECT 1", "tables": []}, source="SELECT 1"
    )
    return revision.endpoint


def _case(e: Environment) -> QuarantineCase:
    return quarantine._open_case(actor=SYSTEM, dataset=_dataset(e), environment=e, group=GROUP)


def _resolve(e: Environment) -> QuarantineCase:
    return quarantine._record(actor=SYSTEM, case=_case(e), verdict="replay", counts={"accepted": 2}, left=0)


def _request(e: Environment) -> None:
    dataset = _dataset(e)
    scope = Scope(e.org_id, e.project_id, e.id, dataset.grant_resource)
    quarantine._request(
        actor=SYSTEM, scope=scope, dataset=dataset, environment=e, group=GROUP, verdict="discard", reason="test rows"
    )


def _apply(e: Environment) -> None:
    files = [{"source": "datasets/orders.yaml", "text": ORDERS}]
    apply_project(actor=SYSTEM, environment=e, resources=Resources.model_validate({"datasets": files}))


def _model(e: Environment) -> Model:
    return registry.create_model(actor=SYSTEM, project=e.project, name="delay")


def _version(e: Environment) -> ModelVersion:
    return registry.register_version(actor=SYSTEM, model=_model(e), signature=SIGNATURE, artifact_sha256="0" * 64)


def _route(e: Environment) -> None:
    version = _version(e)
    routes = [RouteSpec(version=version.number)]
    registry.route_model(actor=SYSTEM, model=version.model, environment=e, routes=routes)


SCENARIOS: Final[dict[str, Scenario]] = {
    "catalog.dataset.created": _dataset,
    "catalog.dataset.described": lambda e: catalog.describe_dataset(
        actor=SYSTEM, dataset=_dataset(e), description="Orders"
    ),
    "catalog.dataset.archived": _restore,
    "catalog.dataset.restored": _restore,
    "catalog.contract.drafted": _contract,
    "catalog.contract.activated": lambda e: catalog.activate_contract(
        actor=SYSTEM, contract=_contract(e), environment=e
    ),
    "catalog.contract.retired": lambda e: catalog.retire_contract(actor=SYSTEM, contract=_contract(e)),
    "catalog.endpoint.published": _endpoint,
    "catalog.endpoint.archived": lambda e: catalog.archive_endpoint(actor=SYSTEM, endpoint=_endpoint(e)),
    "catalog.quarantine.opened": _case,
    "catalog.quarantine.reopened": lambda e: quarantine._reopen_case(actor=SYSTEM, case=_resolve(e)),
    "catalog.quarantine.requested": _request,
    "catalog.quarantine.resolved": _resolve,
    "catalog.quarantine.failed": lambda e: quarantine._record_failure(
        actor=SYSTEM, case=_case(e), verdict="replay", error="away"
    ),
    "catalog.project.applied": _apply,
    "registry.model.created": _model,
    "registry.model.described": lambda e: registry.describe_model(actor=SYSTEM, model=_model(e), description="Delay"),
    "registry.model.routed": _route,
    "registry.version.registered": _version,
    "registry.version.approved": lambda e: registry.approve_version(actor=SYSTEM, version=_version(e)),
    "registry.version.archived": lambda e: registry.archive_version(actor=SYSTEM, version=_version(e)),
    "registry.version.promoted": lambda e: registry.promote_version(actor=SYSTEM, version=_version(e), environment=e),
    "registry.alias.moved": lambda e: registry.move_alias(actor=SYSTEM, version=_version(e), name="stable"),
}
