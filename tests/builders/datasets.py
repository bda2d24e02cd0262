"""Contracts and datasets for tests of ingest."""

from __future__ import annotations

from typing import Any

from headwater.contracts.model import Constraints, Contract, Dedup, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.snapshot import DatasetSpec

FIELDS = (
    Field("id", LogicalType.STRING, constraints=Constraints(min_length=1, max_length=40)),
    Field("qty", LogicalType.INTEGER, required=False, nullable=True, constraints=Constraints(ge=0, le=1_000)),
    Field("price", LogicalType.NUMBER, required=False, nullable=True),
    Field("at", LogicalType.TIMESTAMP, required=False, nullable=True),
    Field("meta", LogicalType.JSON, required=False, nullable=True),
)
SECRET = Field(
    "email", LogicalType.STRING, required=False, classification="personal", constraints=Constraints(max_length=8)
)
DEDUP = Dedup(("id",))
STRICT_DEDUP = Dedup(("id",), on_conflict="quarantine")


def make_contract(name: str = "orders", version: str = "1.0", **more: Any) -> Contract:
    """Return a contract over ``FIELDS`` unless told otherwise."""
    return Contract(name=name, version=version, **({"fields": FIELDS} | more))


def make_dataset(*contracts: Contract, **more: Any) -> DatasetSpec:
    """Return a dataset with these versions, the last of them active."""
    last = contracts[-1]
    return DatasetSpec(
        id=f"dst_{last.name}",
        name=last.name,
        active_version=last.version,
        contracts={contract.version: contract_to_spec(contract) for contract in contracts},
        **more,
    )
