"""What the page of one dataset shows, in one environment."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_from_spec
from headwater.control.access.authority import Scope, has_permission
from headwater.control.catalog.data_plane import DISPOSITIONS, DatasetStatus, QuarantineGroup, Receipt
from headwater.control.catalog.models import Activation, ContractVersion, Dataset
from headwater.control.console.overview import asking
from headwater.control.orgs.models import Environment


@dataclass(frozen=True, slots=True)
class FieldLine:
    """A field of a contract as people read it."""

    name: str
    type: str
    required: bool
    nullable: bool
    constraints: str
    description: str
    classification: str


def dataset_context(dataset: Dataset, chosen: str, *, reader: Any) -> dict[str, Any]:
    """Return the template's context.

    Args:
        dataset: the dataset.
        chosen: the primary key of the environment asked for, as text; else the first with an active contract.
        reader: sample rows are shown to those who hold ``quarantine.read`` alone.
    """
    environments = list(
        Environment.objects.for_org(dataset.org_id).filter(project_id=dataset.project_id).select_related("project")
    )
    active = {
        item.environment_id: item.contract
        for item in Activation.objects.for_org(dataset.org_id).filter(dataset=dataset).select_related("contract")
    }
    environment = _choose(environments, chosen, active)
    contract = active.get(environment.pk) if environment else None
    parsed = contract_from_spec(contract.spec) if contract else None
    context: dict[str, Any] = {
        "dataset": dataset,
        "environments": environments,
        "here": environment,
        "contract": contract,
        "fields": list(field_lines(parsed)) if parsed else [],
        "key": parsed.dedup.key if parsed and parsed.dedup else (),
        "versions": ContractVersion.objects.for_org(dataset.org_id).filter(dataset=dataset),
    }
    return context | (_live(dataset, environment, reader) if environment else {})


def field_lines(contract: Contract) -> Iterable[FieldLine]:
    """Return the fields of a contract, members of structs and elements of arrays below their parents."""
    for field in contract.fields:
        yield from _lines(field, "")


def _lines(field: Field, prefix: str) -> Iterable[FieldLine]:
    name = prefix + field.name
    yield FieldLine(
        name=name,
        type=_type_text(field),
        required=field.required,
        nullable=field.nullable,
        constraints=_constraints_text(field),
        description=field.description,
        classification=field.classification,
    )
    for member in field.fields:
        yield from _lines(member, f"{name}.")
    if field.items is not None and field.items.fields:
        for member in field.items.fields:
            yield from _lines(member, f"{name}[].")


def _type_text(field: Field) -> str:
    match field.type:
        case LogicalType.DECIMAL:
            return f"decimal({field.precision}, {field.scale})"
        case LogicalType.ARRAY | LogicalType.MAP if field.items is not None:
            return f"{field.type} of {_type_text(field.items)}"
        case LogicalType.TIMESTAMP if field.default_timezone:
            return f"timestamp, {field.default_timezone} if it has no offset"
        case _:
            return str(field.type)


def _constraints_text(field: Field) -> str:
    signs = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "multiple_of": "multiple of {}"}
    texts: list[str] = []
    for name, value in asdict(field.constraints).items():
        if value is None or value is False:
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        texts.append(signs.get(name, f"{name.replace('_', ' ')}: {{}}").format(shown))
    if field.has_default:
        texts.append(f"default {field.default!r}")
    return "; ".join(texts)


def _choose(
    environments: list[Environment], chosen: str, active: dict[uuid.UUID, ContractVersion]
) -> Environment | None:
    for environment in environments:
        if str(environment.pk) == chosen:
            return environment
    return next((item for item in environments if item.pk in active), environments[0] if environments else None)


def _live(dataset: Dataset, environment: Environment, reader: Any) -> dict[str, Any]:
    """Return what the services know; empty where they are away."""
    with asking() as services:
        statuses: Iterable[DatasetStatus] = services.ask(lambda plane: plane.datasets(environment.public_id), ())
        receipts: Iterable[Receipt] = services.ask(
            lambda plane: plane.receipts(environment.public_id, dataset.name), ()
        )
        groups: Iterable[QuarantineGroup] = services.ask(
            lambda plane: plane.quarantine_groups(environment.public_id, dataset.name), ()
        )
    scope = Scope(dataset.org_id, dataset.project_id, environment.pk, dataset.grant_resource)
    if not has_permission(reader, "quarantine.read", scope):
        groups = [group.model_copy(update={"samples": ()}) for group in groups]
    status = next((status for status in statuses if status.name == dataset.name), None)
    return {
        "away": services.away,
        "status": status,
        "tallies": [(name, status.counts.get(name, 0)) for name in DISPOSITIONS] if status else [],
        "receipts": receipts,
        "groups": sorted(groups, key=lambda group: (not group.open, -group.last_at.timestamp())),
    }
