"""Datasets and the versions of their contracts."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from typing import Annotated

from django.db import transaction
from django.http import HttpRequest
from ninja import Query, Router, Status

from headwater.contracts.model import Contract
from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import (
    ChangeIn,
    ContractDetail,
    ContractOut,
    ContractSource,
    DatasetOut,
    DatasetPatch,
    TargetIn,
)
from headwater.control.catalog.actions import (
    activate_contract,
    archive_dataset,
    create_dataset,
    describe_dataset,
    draft_contract,
    restore_dataset,
    retire_contract,
)
from headwater.control.catalog.models import ContractVersion, Dataset
from headwater.core.errors import HeadwaterError

router = Router(tags=["Datasets"])
Paging = Annotated[PageQuery, Query(...)]
DATASETS = "/{org}/projects/{project}/datasets"
DATASET = DATASETS + "/{dataset}"
CONTRACT = DATASET + "/contracts/{version}"


@router.get(DATASETS, response=Page[DatasetOut])
def list_datasets(request: HttpRequest, org: str, project: str, page: Paging) -> Page[DatasetOut]:
    """List a project's datasets."""
    caller = caller_of(request)
    home = caller.project(org, project)
    caller.need("dataset.read", home)
    return take_page(Dataset.objects.for_org(home.org_id).filter(project=home), page, DatasetOut.show)


@router.post(DATASETS, response={201: DatasetOut})
def post_dataset(request: HttpRequest, org: str, project: str, body: ContractSource) -> Status[DatasetOut]:
    """Make a dataset from its first contract, which is a draft until it is activated."""
    caller = caller_of(request)
    home = caller.project(org, project)
    contract = _parse(body.text)
    with transaction.atomic():
        row = create_dataset(actor=caller.actor, project=home, name=contract.name, description=contract.description)
        draft_contract(actor=caller.actor, dataset=row, contract=contract, source=body.text)
    return Status(201, DatasetOut.show(row))


@router.get(DATASET, response=DatasetOut)
def get_dataset(request: HttpRequest, org: str, project: str, dataset: str) -> DatasetOut:
    """Show one dataset."""
    return DatasetOut.show(caller_of(request).dataset(org, project, dataset))


@router.patch(DATASET, response=DatasetOut)
def patch_dataset(request: HttpRequest, org: str, project: str, dataset: str, body: DatasetPatch) -> DatasetOut:
    """Change a dataset's description."""
    caller = caller_of(request)
    row = caller.dataset(org, project, dataset)
    check_revision(request, row, body.revision)
    return DatasetOut.show(describe_dataset(actor=caller.actor, dataset=row, description=body.description))


@router.post(DATASET + "/archive", response=DatasetOut)
def post_archive(request: HttpRequest, org: str, project: str, dataset: str, body: ChangeIn) -> DatasetOut:
    """Stop a dataset from taking rows."""
    caller = caller_of(request)
    row = caller.dataset(org, project, dataset)
    check_revision(request, row, body.revision)
    return DatasetOut.show(archive_dataset(actor=caller.actor, dataset=row, reason=body.reason))


@router.post(DATASET + "/restore", response=DatasetOut)
def post_restore(request: HttpRequest, org: str, project: str, dataset: str, body: ChangeIn) -> DatasetOut:
    """Let an archived dataset take rows again."""
    caller = caller_of(request)
    row = caller.dataset(org, project, dataset)
    check_revision(request, row, body.revision)
    return DatasetOut.show(restore_dataset(actor=caller.actor, dataset=row, reason=body.reason))


@router.get(DATASET + "/contracts", response=Page[ContractOut])
def list_contracts(request: HttpRequest, org: str, project: str, dataset: str, page: Paging) -> Page[ContractOut]:
    """List the versions of a dataset's contract."""
    row = caller_of(request).dataset(org, project, dataset)
    return take_page(ContractVersion.objects.for_org(row.org_id).filter(dataset=row), page, ContractOut.show)


@router.post(DATASET + "/contracts", response={201: ContractOut})
def post_contract(
    request: HttpRequest, org: str, project: str, dataset: str, body: ContractSource
) -> Status[ContractOut]:
    """Add a version as a draft."""
    caller = caller_of(request)
    row = caller.dataset(org, project, dataset)
    contract = _parse(body.text)
    return Status(
        201, ContractOut.show(draft_contract(actor=caller.actor, dataset=row, contract=contract, source=body.text))
    )


@router.get(CONTRACT, response=ContractDetail)
def get_contract(request: HttpRequest, org: str, project: str, dataset: str, version: str) -> ContractDetail:
    """Show one version with its text."""
    row = _contract(caller_of(request), org, project, dataset, version)
    return ContractDetail(**ContractOut.show(row).model_dump(), source=row.source, spec=row.spec)


@router.post(CONTRACT + "/activate", response=ContractOut)
def post_activate(
    request: HttpRequest, org: str, project: str, dataset: str, version: str, body: TargetIn
) -> ContractOut:
    """Hold an environment's rows against this version from now on."""
    caller = caller_of(request)
    row = _contract(caller, org, project, dataset, version)
    check_revision(request, row, body.revision)
    environment = caller.environment(org, project, body.environment)
    activate_contract(actor=caller.actor, contract=row, environment=environment, reason=body.reason)
    return ContractOut.show(row)


@router.post(CONTRACT + "/retire", response=ContractOut)
def post_retire(
    request: HttpRequest, org: str, project: str, dataset: str, version: str, body: ChangeIn
) -> ContractOut:
    """Refuse rows that name this version from now on."""
    caller = caller_of(request)
    row = _contract(caller, org, project, dataset, version)
    check_revision(request, row, body.revision)
    return ContractOut.show(retire_contract(actor=caller.actor, contract=row, reason=body.reason))


def _contract(caller: Caller, org: str, project: str, dataset: str, version: str) -> ContractVersion:
    home = caller.dataset(org, project, dataset)
    rows = ContractVersion.objects.for_org(home.org_id).filter(dataset=home, version=version)
    row: ContractVersion | None = rows.select_related("dataset__project").first()
    if row is None:
        raise HeadwaterError("not_found", f"{home.name!r} has no contract version {version[:40]!r}")
    return row


def _parse(text: str) -> Contract:
    # The reader loads Arrow, which an idle control process should not hold.
    from headwater.contracts.odcs import parse_contract  # noqa: PLC0415

    return parse_contract(text, source="text")
