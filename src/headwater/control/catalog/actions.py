"""Changes to datasets, contracts and endpoints."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from django.db.models import Max
from django.utils import timezone

from headwater.contracts.model import Contract
from headwater.contracts.spec import contract_from_spec, contract_to_spec
from headwater.contracts.tabulation import accepted_schema
from headwater.control.catalog.compat import check_storable, compare_contracts, major
from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.endpoint_versions import revisions_of
from headwater.control.catalog.models import Activation, ContractVersion, Dataset, Endpoint, EndpointRevision
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment, Project
from headwater.control.policies.fit import require_fit
from headwater.core.errors import HeadwaterError
from headwater.engines.query.tables import SYSTEM_COLUMNS, duckdb_columns

State = ContractVersion.State


@action("catalog.dataset.created", permission="dataset.write", on="project")
def create_dataset(*, actor: Actor, project: Project, name: str, description: str = "") -> Dataset:
    """Create an empty dataset; it takes rows once a contract is active."""
    dataset = Dataset(org_id=project.org_id, project=project, name=name, description=description)
    dataset.save()
    return dataset


@action("catalog.dataset.described", permission="dataset.write", on="dataset")
def describe_dataset(*, actor: Actor, dataset: Dataset, description: str) -> Dataset:
    """Change what a dataset says about itself."""
    dataset.change(description=description)
    return dataset


@action("catalog.dataset.archived", permission="dataset.write", on="dataset")
def archive_dataset(*, actor: Actor, dataset: Dataset, reason: str = "") -> Dataset:
    """Stop a dataset from taking rows. What it holds stays, and can still be read."""
    if dataset.archived_at is None:
        dataset.change(archived_at=timezone.now())
    return dataset


@action("catalog.dataset.restored", permission="dataset.write", on="dataset")
def restore_dataset(*, actor: Actor, dataset: Dataset, reason: str = "") -> Dataset:
    """Let an archived dataset take rows again."""
    dataset.change(archived_at=None)
    return dataset


@action("catalog.contract.drafted", permission="dataset.write", on="dataset")
def draft_contract(*, actor: Actor, dataset: Dataset, contract: Contract, source: str) -> ContractVersion:
    """Add a contract version to a dataset, to be activated.

    Raises:
        HeadwaterError: ``contract_invalid`` when the contract is for another dataset, ``conflict`` for a known version.
    """
    if contract.name != dataset.name:
        raise HeadwaterError(
            "contract_invalid",
            f"the contract is for {contract.name!r}, not for {dataset.name!r}",
            hint=f"set its name to {dataset.name!r}",
        )
    spec = contract_to_spec(contract)
    version = ContractVersion(
        org_id=dataset.org_id,
        dataset=dataset,
        number=_next_number(ContractVersion.objects.for_org(dataset.org_id).filter(dataset=dataset)),
        version=contract.version,
        spec=spec,
        spec_sha256=sha256_of(spec),
        source=source,
    )
    version.save()
    return version


@action("catalog.contract.activated", permission="dataset.write", on="environment")
def activate_contract(
    *, actor: Actor, contract: ContractVersion, environment: Environment, reason: str = ""
) -> Activation:
    """Hold an environment's rows against ``contract`` from now on; the version before is deprecated, not retired.

    Raises:
        HeadwaterError: ``contract_invalid`` when it breaks the active version of the same major or its columns do not
            fit the table, ``conflict`` when it is retired or policies on the dataset do not fit its columns,
            ``not_found`` when the environment is of another project.
    """
    dataset = contract.dataset
    if environment.project_id != dataset.project_id:
        raise HeadwaterError("not_found", f"{environment.key!r} is not an environment of the dataset's project")
    if contract.state == State.RETIRED:
        raise HeadwaterError("conflict", f"{contract} is retired", hint="add a new version")
    first_time = contract.state in (State.DRAFT, State.IN_REVIEW)
    if first_time:
        check_storable(stored_contracts(dataset), contract_from_spec(contract.spec))
    columns = duckdb_columns(pa.schema([*accepted_schema(contract_from_spec(contract.spec)), *SYSTEM_COLUMNS]))
    require_fit(environment, f"dataset:{dataset.name}", columns)
    contract.change(state=State.ACTIVE)
    current: Activation | None = (
        Activation.objects.for_org(dataset.org_id).filter(environment=environment, dataset=dataset).first()
    )
    if current is None:
        activation = Activation(org_id=dataset.org_id, environment=environment, dataset=dataset, contract=contract)
        activation.save()
        return activation
    previous = current.contract
    if previous.pk != contract.pk:
        if first_time:
            # Going back to a version that was active before must always be possible.
            check_compatible(contract_from_spec(previous.spec), contract_from_spec(contract.spec))
        current.change(contract=contract)
        if not previous.activations.exists():
            previous.change(state=State.DEPRECATED)
    return current


@action("catalog.contract.retired", permission="dataset.write", on="contract")
def retire_contract(*, actor: Actor, contract: ContractVersion, reason: str = "") -> ContractVersion:
    """Refuse rows that name this version from now on; raises ``conflict`` while an environment writes by it."""
    if contract.activations.exists():
        raise HeadwaterError("conflict", f"{contract} is active", hint="activate another version first")
    contract.change(state=State.RETIRED)
    return contract


@action("catalog.endpoint.published", permission="endpoint.write", on="environment")
def publish_endpoint(
    *, actor: Actor, environment: Environment, name: str, spec: dict[str, Any], source: str
) -> EndpointRevision:
    """Serve ``spec`` under ``name`` from now on: a new revision of its version unless the newest one says the same.

    Args:
        actor: who publishes.
        environment: where it is served.
        name: the endpoint's name.
        spec: the members of ``EndpointSpec`` but ids and revision, checked by the caller.
        source: the SQL file as it was written.
    """
    description = str(spec.get("description", ""))
    version = int(spec.get("version", 1))
    endpoint = Endpoint.objects.for_org(environment.org_id).filter(environment=environment, name=name).first()
    if endpoint is None:
        endpoint = Endpoint(org_id=environment.org_id, environment=environment, name=name, description=description)
        endpoint.save()
    elif any(known > version for known in _versions(endpoint)):
        endpoint.change(archived_at=None)  # what it is for is said by its newest version
    else:
        endpoint.change(description=description, archived_at=None)
    newest = revisions_of(endpoint, version).first()
    digest = sha256_of(spec)
    if newest is not None and newest.spec_sha256 == digest:
        return newest  # type: ignore[no-any-return]
    revisions = EndpointRevision.objects.for_org(environment.org_id).filter(endpoint=endpoint)
    revision = EndpointRevision(
        org_id=environment.org_id,
        endpoint=endpoint,
        number=_next_number(revisions),
        spec=spec,
        spec_sha256=digest,
        source=source,
    )
    revision.save()
    return revision


def _versions(endpoint: Endpoint) -> list[int]:
    rows = EndpointRevision.objects.for_org(endpoint.org_id).filter(endpoint=endpoint)
    return [version or 1 for version in rows.order_by().values_list("spec__version", flat=True).distinct()]


@action("catalog.endpoint.archived", permission="endpoint.write", on="endpoint")
def archive_endpoint(*, actor: Actor, endpoint: Endpoint, reason: str = "") -> Endpoint:
    """Stop serving an endpoint; its revisions stay."""
    if endpoint.archived_at is None:
        endpoint.change(archived_at=timezone.now())
    return endpoint


def stored_contracts(dataset: Dataset) -> list[Contract]:
    """Return every version that rows of the dataset may have been written under, oldest first."""
    versions = ContractVersion.objects.for_org(dataset.org_id).filter(dataset=dataset).order_by("number")
    return [contract_from_spec(row.spec) for row in versions.exclude(state__in=(State.DRAFT, State.IN_REVIEW))]


def check_compatible(old: Contract, new: Contract) -> None:
    """Refuse a contract that breaks the active one under the same major version.

    Raises:
        HeadwaterError: ``contract_invalid`` listing every breaking change, with the cure.
    """
    if major(old.version) != major(new.version):
        return
    breaking = [str(change) for change in compare_contracts(old, new) if change.breaking]
    if breaking:
        raise HeadwaterError(
            "contract_invalid",
            f"{new.name} {new.version} breaks {old.version}: {'; '.join(breaking)}",
            hint=f"raise the major version (for instance {_next_major(old.version)}), or undo the breaking change",
        )


def _next_major(version: str) -> str:
    head, *rest = version.split(".")
    return ".".join([str(int(head) + 1), *("0" for _ in rest)]) if head.isdecimal() else "2.0"


def _next_number(rows: Any) -> int:
    return int(rows.aggregate(newest=Max("number"))["newest"] or 0) + 1
