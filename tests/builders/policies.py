"""Datasets and policies on them in the control plane."""

from __future__ import annotations

from typing import Any

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.control.catalog.actions import activate_contract, create_dataset, draft_contract
from headwater.control.catalog.models import Dataset
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import publish_policy
from headwater.control.policies.models import AccessPolicy
from headwater.control.policies.resources import Resources


def flights_contract(name: str = "flights", *, protected: bool = False, version: str = "1.0") -> Contract:
    fields = (
        Field("id", LogicalType.INTEGER),
        Field("carrier", LogicalType.STRING),
        Field("tail", LogicalType.STRING, nullable=True),
        Field("distance", LogicalType.NUMBER, nullable=True),
    )
    return Contract(name, version, fields, protected=protected)


def declare_dataset(environment: Environment, name: str = "flights", *, protected: bool = False) -> Dataset:
    dataset = create_dataset(actor=SYSTEM, project=environment.project, name=name)
    contract = draft_contract(
        actor=SYSTEM, dataset=dataset, contract=flights_contract(name, protected=protected), source="a test"
    )
    activate_contract(actor=SYSTEM, contract=contract, environment=environment)
    return dataset


def policy(environment: Environment, name: str, *, resource: str = "dataset:flights", **more: Any) -> AccessPolicy:
    content = {
        "resource": resource, "priority": 10, "principals": ["everyone"], "row_filter": "", "attributes": {},
        "columns": {}, "purpose": "a test", "expires_at": None,
    } | more  # fmt: skip
    columns = Resources(environment).columns(resource)
    assert columns is not None
    return publish_policy(actor=SYSTEM, environment=environment, name=name, content=content, columns=columns)
