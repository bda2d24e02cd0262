"""What applying a project would change in one environment: per resource a change, and the step that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.actions import (
    activate_contract,
    check_compatible,
    create_dataset,
    describe_dataset,
    draft_contract,
    restore_dataset,
    stored_contracts,
)
from headwater.control.catalog.compat import check_storable, compare_contracts, version_order
from headwater.control.catalog.models import Activation, ContractVersion, Dataset
from headwater.control.catalog.payload import Change, Kind, Verb
from headwater.control.catalog.project import DeclaredDataset, FileError, errors_in
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

Step = Callable[[Actor], None]
LISTED: Final = 20
"""Details that are shown at most; a rewritten contract has hundreds."""


@dataclass(slots=True)
class Plan:
    """Changes in the order they are made, the steps that make them, and what stands in the way."""

    changes: list[Change] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)

    def add(self, kind: Kind, name: str, action: Verb, *details: str, step: Step | None = None) -> None:
        """Note a change and its step; an unchanged resource has none."""
        shown = details if len(details) <= LISTED else (*details[:LISTED], f"and {len(details) - LISTED} more")
        self.changes.append(Change(kind=kind, name=name, action=action, details=shown))
        if step is not None:
            self.steps.append(step)

    def refuse(self, source: str, path: str, message: str) -> None:
        """Note an error."""
        self.errors.append(FileError(source, path, message))


def plan_datasets(plan: Plan, environment: Environment, declared: Mapping[str, DeclaredDataset]) -> None:
    """Plan every dataset of a project directory, and mention those that the directory no longer has."""
    datasets = Dataset.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    existing = {dataset.name: dataset for dataset in datasets}
    activations = (
        Activation.objects.for_org(environment.org_id).filter(environment=environment).select_related("contract")
    )
    active = {activation.dataset_id: activation.contract for activation in activations}
    for name, item in declared.items():
        dataset = existing.get(name)
        if dataset is None:
            _plan_new_dataset(plan, environment, item)
        else:
            _plan_dataset(plan, environment, dataset, active.get(dataset.pk), item)
    for name, dataset in existing.items():
        if name not in declared and dataset.pk in active and dataset.archived_at is None:
            plan.add("dataset", name, "unchanged", "not in the project directory; left alone (archive it to stop it)")


def _plan_new_dataset(plan: Plan, environment: Environment, item: DeclaredDataset) -> None:
    contract = item.contract

    def create(actor: Actor) -> None:
        dataset = create_dataset(
            actor=actor, project=environment.project, name=contract.name, description=contract.description
        )
        version = draft_contract(actor=actor, dataset=dataset, contract=contract, source=item.file.text)
        activate_contract(actor=actor, contract=version, environment=environment)

    size = f"{len(contract.fields)} fields"
    plan.add("dataset", contract.name, "create", f"contract {contract.version}", size, step=create)


def _plan_dataset(
    plan: Plan, environment: Environment, dataset: Dataset, active: ContractVersion | None, item: DeclaredDataset
) -> None:
    versions = list(ContractVersion.objects.for_org(environment.org_id).filter(dataset=dataset))
    known = next((version for version in versions if version.version == item.contract.version), None)
    problem = _version_problem(item, known, versions)
    is_new = known is None or known.state in (ContractVersion.State.DRAFT, ContractVersion.State.IN_REVIEW)
    if problem is None and active is not None and active != known and is_new:
        problem = _compatibility_problem(dataset, active, item)
    if problem is not None:
        plan.errors.extend(problem)
        return
    details = _dataset_details(dataset, active, known, item)
    if not details:
        plan.add("dataset", dataset.name, "unchanged")
        return

    def update(actor: Actor) -> None:
        if dataset.archived_at is not None:
            restore_dataset(actor=actor, dataset=dataset)
        describe_dataset(actor=actor, dataset=dataset, description=item.contract.description)
        version = known or draft_contract(actor=actor, dataset=dataset, contract=item.contract, source=item.file.text)
        if active != version:
            activate_contract(actor=actor, contract=version, environment=environment)

    plan.add("dataset", dataset.name, "update", *details, step=update)


def _version_problem(
    item: DeclaredDataset, known: ContractVersion | None, versions: list[ContractVersion]
) -> list[FileError] | None:
    """Return why this version label cannot carry this content."""
    label, source = item.contract.version, item.file.source
    if known is not None:
        there = contract_from_spec(known.spec)
        # A later release may write the same contract down otherwise.
        if known.spec_sha256 == item.digest or there == item.contract:
            return None
        changes = compare_contracts(there, item.contract)
        what = "; ".join(map(str, changes[:LISTED])) or "its text"
        return [
            FileError(
                source,
                "version",
                f"version {label} of {item.contract.name!r} exists and cannot change ({what}); "
                "raise `version` to publish the change",
            )
        ]
    newest = max((version.version for version in versions), key=version_order, default=None)
    if newest is not None and version_order(label) < version_order(newest):
        return [FileError(source, "version", f"version {label} is older than {newest}; raise `version` above {newest}")]
    return None


def _compatibility_problem(dataset: Dataset, active: ContractVersion, item: DeclaredDataset) -> list[FileError] | None:
    try:
        check_storable(stored_contracts(dataset), item.contract)
        check_compatible(contract_from_spec(active.spec), item.contract)
    except HeadwaterError as error:
        return [FileError(found.source, "version", found.message) for found in errors_in(item.file.source, error)]
    return None


def _dataset_details(
    dataset: Dataset, active: ContractVersion | None, known: ContractVersion | None, item: DeclaredDataset
) -> list[str]:
    details: list[str] = []
    if dataset.archived_at is not None:
        details.append("takes rows again")
    if active is None:
        details.append(f"contract {item.contract.version} becomes active here")
    elif active != known:
        details.append(f"contract {active.version} -> {item.contract.version}")
        details += map(str, compare_contracts(contract_from_spec(active.spec), item.contract))
    if dataset.description != item.contract.description:
        details.append("description")
    return details
