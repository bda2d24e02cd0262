"""What ingest compiled from a snapshot: per dataset its streams and a validator for each version of its contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from headwater.contracts.model import Contract, Field
from headwater.contracts.rows import Validator
from headwater.contracts.spec import contract_from_spec
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import DatasetSpec, Snapshot
from headwater.core.streams import QUARANTINE, stream_name
from headwater.services.kit.service import Caller

SERVICE: Final = "ingest"
MOST_READY: Final = 500
"""Versions whose validators are made with the snapshot. Thousands would take half a minute, most for nobody."""


@dataclass(frozen=True)
class Version:
    """One version of a dataset's contract.

    Attributes:
        plain: the spec it was made from, as the snapshot carries it.
        label: how replies name it, ``orders@2.3``.
        hidden: names and aliases of top-level fields whose values must not be shown.
    """

    plain: Mapping[str, Any]
    contract: Contract
    label: str
    hidden: frozenset[str]

    @cached_property
    def validator(self) -> Validator:
        """Return what holds rows against the contract, compiled when first asked for: some milliseconds."""
        return compile_contract(self.contract)

    @property
    def number(self) -> str:
        """Return the version's number."""
        return self.contract.version


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that takes rows."""

    spec: DatasetSpec
    stream: str
    quarantine_stream: str
    versions: Mapping[str, Version]

    @property
    def name(self) -> str:
        """Return the dataset's name."""
        return self.spec.name

    @property
    def active(self) -> Version:
        """Return the version that rows are held against when they name none."""
        return self.versions[self.spec.active_version]

    def version(self, number: str | None) -> Version:
        """Return a version; raises ``contract_version_unknown``."""
        if number is None:
            return self.active
        found = self.versions.get(number)
        if found is None:
            raise HeadwaterError(
                "contract_version_unknown",
                f"{self.name} has no active contract version {number[:64]!r}",
                hint=f"active: {', '.join(sorted(self.versions))}",
            )
        return found


@dataclass(frozen=True, slots=True)
class Catalog:
    """The datasets of one environment under one snapshot."""

    environment_id: str
    number: int
    datasets: Mapping[str, Dataset]

    @property
    def quarantine_stream(self) -> str:
        """Return the stream that holds the refused rows of every dataset here."""
        return stream_name(self.environment_id, QUARANTINE)

    def pieces(self) -> list[object]:
        """Return what it consists of, see ``Divisible``."""
        return [version for dataset in self.datasets.values() for version in dataset.versions.values()]

    def by_id(self, dataset_id: str) -> Dataset | None:
        """Return the dataset with an id, archived or not."""
        return next((dataset for dataset in self.datasets.values() if dataset.spec.id == dataset_id), None)


def catalog_of(caller: Caller) -> Catalog:
    """Return what ingest compiled for the environment of a caller."""
    catalog = caller.environment.compiled[SERVICE]
    assert isinstance(catalog, Catalog)
    return catalog


def find_dataset(caller: Caller, name: str, permission: str) -> Dataset:
    """Return the dataset if it exists and the caller may do that with it.

    Raises:
        HeadwaterError: ``dataset_not_found`` (``config_unavailable`` while it may be new), ``forbidden``.
    """
    dataset = catalog_of(caller).datasets.get(name)
    if dataset is None:
        shown = name[:64]
        raise caller.environment.missing(
            "dataset_not_found", f"there is no dataset {shown!r} here", hint="GET /v1/datasets lists them"
        )
    if not caller.key.can(permission, name):
        raise HeadwaterError(
            "forbidden",
            f"the key {caller.key.prefix}… lacks {permission} on {name}",
            hint="use a key whose role allows it, or ask an administrator",
        )
    return dataset


def compile_catalog(snapshot: Snapshot, previous: Catalog | None) -> Catalog:
    """Compile the datasets of a snapshot, reusing every validator whose contract did not change.

    Of a large snapshot, validators are made when rows first come.

    Raises:
        HeadwaterError: ``contract_invalid`` naming dataset and version.
    """
    environment_id = snapshot.environment.id
    known = previous.datasets if previous is not None else {}
    datasets = {
        name: _compile_dataset(environment_id, spec, known.get(name)) for name, spec in snapshot.datasets.items()
    }
    versions = [version for dataset in datasets.values() for version in dataset.versions.values()]
    for version in versions[:MOST_READY]:
        version.validator  # noqa: B018 - made now, in a thread, rather than by the first request
    return Catalog(environment_id, snapshot.number, MappingProxyType(datasets))


def _compile_dataset(environment_id: str, spec: DatasetSpec, previous: Dataset | None) -> Dataset:
    if spec.active_version not in spec.contracts:
        raise HeadwaterError(
            "contract_invalid", f"dataset {spec.name}: the active version {spec.active_version} has no contract"
        )
    old = previous.versions if previous is not None else {}
    versions: dict[str, Version] = {}
    for number, plain in spec.contracts.items():
        reused = old.get(number)
        versions[number] = reused if reused is not None and reused.plain == plain else _compile_version(spec, plain)
    return Dataset(
        spec=spec,
        stream=stream_name(environment_id, spec.name),
        quarantine_stream=stream_name(environment_id, QUARANTINE),
        versions=MappingProxyType(versions),
    )


def _compile_version(spec: DatasetSpec, plain: Mapping[str, Any]) -> Version:
    contract = contract_from_spec(dict(plain))
    return Version(
        plain=plain,
        contract=contract,
        label=f"{spec.name}@{contract.version}",
        hidden=frozenset(
            name for field in contract.fields if not _is_public(field) for name in (field.name, *field.aliases)
        ),
    )


def _is_public(field: Field) -> bool:
    """Return whether a field and everything inside it may be shown."""
    inner = (*field.fields, *((field.items,) if field.items is not None else ()))
    return field.classification == "public" and all(map(_is_public, inner))
