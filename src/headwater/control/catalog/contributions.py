"""What the catalogue puts into the snapshot of an environment: its datasets and its endpoints."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from headwater.control.catalog.endpoint_versions import by_label, newest_in
from headwater.control.catalog.models import Activation, ContractVersion, Dataset, Endpoint, EndpointRevision
from headwater.control.kit.contributions import EnvironmentRef, contribute
from headwater.control.policies.models import AccessPolicy
from headwater.core.snapshot import DatasetSpec

_TAKES_ROWS = (ContractVersion.State.ACTIVE, ContractVersion.State.DEPRECATED)


def contribute_datasets(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return the datasets that have an active contract, each with every version that rows may name."""
    activations = (
        Activation.objects.for_org(environment.org_id)
        .filter(environment_id=environment.id)
        .select_related("dataset", "contract")
    )
    contracts: dict[uuid.UUID, dict[str, dict[str, Any]]] = defaultdict(dict)
    versions = ContractVersion.objects.for_org(environment.org_id).filter(
        dataset__activations__environment_id=environment.id, state__in=_TAKES_ROWS
    )
    for version in versions:
        contracts[version.dataset_id][version.version] = version.spec
    policies = AccessPolicy.objects.for_org(environment.org_id).filter(
        environment_id=environment.id, archived_at=None, resource__startswith="dataset:"
    )
    policed = {resource.removeprefix("dataset:") for resource in policies.values_list("resource", flat=True)}
    return {
        activation.dataset.name: DatasetSpec(
            id=activation.dataset.public_id,
            name=activation.dataset.name,
            active_version=activation.contract.version,
            contracts=contracts[activation.dataset_id] | {activation.contract.version: activation.contract.spec},
            description=activation.dataset.description,
            archived=activation.dataset.archived_at is not None,
            # A dataset with policies is closed to whom none of them matches, also in services that know no policies.
            protected=bool(activation.contract.spec.get("protected", False)) or activation.dataset.name in policed,
        )
        for activation in activations
    }


def contribute_endpoints(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return the newest revision of every version of an endpoint that is not archived, as plain data.

    The version that is newest among those without a date of deprecation, else among all, has the bare name; the others
    are called as ``daily@1``. The compiler judges each.
    """
    return {
        label: revision.spec | {"id": revision.endpoint.public_id, "name": name, "revision": revision.number}
        for name, known in newest_in(environment.org_id, environment.id).items()
        for label, revision in by_label(name, known).items()
    }


contribute("datasets", contribute_datasets, models=(Dataset, ContractVersion, Activation, AccessPolicy))
contribute("endpoints", contribute_endpoints, models=(Endpoint, EndpointRevision))
