"""One way to run every action of the catalogue and the registry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from tests.builders.datasets import make_contract
from tests.fakes.data_plane import batch_job

from headwater.control.access.authority import Scope
from headwater.control.catalog import actions as catalog
from headwater.control.catalog import batch_jobs, quarantine
from headwater.control.catalog.apply import apply_project
from headwater.control.catalog.batch_jobs import JobStatus
from headwater.control.catalog.data_plane import QuarantineGroup
from headwater.control.catalog.models import ContractVersion, Dataset, Endpoint, QuarantineCase
from headwater.control.catalog.payload import Resources
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment

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


def _cancel_job(e: Environment) -> None:
    scope = Scope(e.org_id, e.project_id, e.id, "model:delay")
    batch_jobs._request_cancel(actor=SYSTEM, scope=scope, job=JobStatus.model_validate(batch_job()), reason="too long")


def _apply(e: Environment) -> None:
    files = [{"source": "datasets/orders.yaml", "text": ORDERS}]
    apply_project(actor=SYSTEM, environment=e, resources=Resources.model_validate({"datasets": files}))


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
    "catalog.job.cancel_requested": _cancel_job,
    "catalog.project.applied": _apply,
}
