"""What the registry puts into the snapshot of an environment: the models it serves, with their routes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.control.kit.contributions import EnvironmentRef, contribute
from headwater.control.registry.models import Deployment, Model, ModelVersion


def contribute_models(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return the models that have routes, each with the versions routed to, as plain data: the compiler judges each."""
    deployments = (
        Deployment.objects.for_org(environment.org_id)
        .filter(environment_id=environment.id)
        .select_related("model", "version")
        .order_by("model__name", "role", "version__number")
    )
    by_model: dict[Model, list[Deployment]] = defaultdict(list)
    for deployment in deployments:
        by_model[deployment.model].append(deployment)
    return {model.name: _model_spec(model, routes) for model, routes in by_model.items()}


def _model_spec(model: Model, deployments: Sequence[Deployment]) -> dict[str, Any]:
    return {
        "id": model.public_id,
        "name": model.name,
        "versions": {item.version.number: _version_spec(item.version) for item in deployments},
        "routes": [
            {"version": item.version.number, "role": item.role, "weight_bps": item.weight_bps} for item in deployments
        ],
        "description": model.description,
    }


def _version_spec(version: ModelVersion) -> dict[str, Any]:
    """Return a version as the data plane needs it. The artifact is found by its digest in the shared store."""
    return {
        "id": version.public_id,
        "number": version.number,
        "framework": version.framework,
        "artifact_uri": f"blob:{version.artifact_sha256}",
        "artifact_sha256": version.artifact_sha256,
        "inputs": version.inputs,
        "outputs": version.outputs,
    }


contribute("models", contribute_models, models=(Model, ModelVersion, Deployment))
