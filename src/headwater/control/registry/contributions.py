"""What the registry puts into the snapshot of an environment: the models it serves, with their routes and rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.control.kit.contributions import EnvironmentRef, contribute
from headwater.control.registry.models import Deployment, Model, ModelVersion, Rollout
from headwater.control.registry.queries import find_fallback, newest_rollout


def contribute_models(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return the models that are served, each with its versions, as plain data: the compiler judges each."""
    deployments = (
        Deployment.objects.for_org(environment.org_id)
        .filter(environment_id=environment.id)
        .select_related("model", "version")
        .order_by("model__name", "role", "version__number")
    )
    by_model: dict[Model, list[Deployment]] = defaultdict(list)
    for deployment in deployments:
        by_model[deployment.model].append(deployment)
    return {model.name: _model_spec(environment, model, routes) for model, routes in by_model.items()}


def _model_spec(environment: EnvironmentRef, model: Model, deployments: Sequence[Deployment]) -> dict[str, Any]:
    rollout = newest_rollout(model, environment.id)
    rules = rollout.rules if rollout else {}
    versions = {item.version.number: item.version for item in deployments}
    # What a tripped champion falls back to has to be loaded before it is needed.
    fallback = find_fallback(model, environment.id, protected=environment.protected) if rules.get("rollback") else None
    if fallback is not None:
        versions[fallback.number] = fallback
    return {
        "id": model.public_id,
        "name": model.name,
        "versions": {number: _version_spec(version) for number, version in versions.items()},
        "routes": [
            {"version": item.version.number, "role": item.role, "weight_bps": item.weight_bps}
            for item in deployments
            if item.role != Deployment.Role.PINNED
        ],
        "description": model.description,
        "serving": rules,
        "fallback": fallback.number if fallback else None,
    }


def _version_spec(version: ModelVersion) -> dict[str, Any]:
    """Return a version as the data plane needs it. Blobs are found by their digest in the shared store."""
    return {
        "id": version.public_id,
        "number": version.number,
        "framework": version.framework,
        "artifact_uri": f"blob:{version.artifact_sha256}" if version.artifact_sha256 else "",
        "artifact_sha256": version.artifact_sha256,
        "inputs": version.inputs,
        "outputs": version.outputs,
        "options": version.options,
        "features": version.features,
        "examples": [example["inputs"] for example in version.examples],
        "profile_sha256": version.profile_sha256 or None,
        "memory_bytes": version.memory_bytes,
        "timeout_seconds": version.timeout_seconds,
    }


contribute("models", contribute_models, models=(Model, ModelVersion, Deployment, Rollout))
