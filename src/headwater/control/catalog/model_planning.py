"""What applying a project would change about its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.contracts.spec import contract_from_spec, contract_to_spec
from headwater.control import configuration
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredModel, errors_in
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import (
    create_model,
    describe_model,
    promote_version,
    register_version,
    version_digest,
)
from headwater.control.registry.models import Deployment, Model, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.blobs import open_blobs


def plan_models(plan: Plan, environment: Environment, declared: Mapping[str, DeclaredModel]) -> None:
    """Plan every model of a project directory.

    A new version takes all traffic at once, unless the environment is protected: there somebody approves and promotes
    it. A version that exists already is left as people routed it.
    """
    models = Model.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    existing = {model.name: model for model in models}
    for name, item in declared.items():
        _plan_model(plan, environment, existing.get(name), item)
    deployed = Deployment.objects.for_org(environment.org_id).filter(environment=environment)
    for name in sorted({item.model.name for item in deployed.select_related("model")} - set(declared)):
        plan.add("model", name, "unchanged", "not in the project directory; left alone")


def _plan_model(plan: Plan, environment: Environment, model: Model | None, item: DeclaredModel) -> None:
    signature = _signature(item)
    digest = version_digest(signature, item.file.artifact_sha256)
    known = None
    if model is not None:
        versions = ModelVersion.objects.for_org(model.org_id).filter(model=model, spec_sha256=digest)
        known = versions.order_by("-number").first()
    if known is None and not (_artifact_fits(plan, item) and _log_fits(plan, model, item)):
        return
    served = model is not None and model.deployments.filter(environment=environment).exists()
    details = _details(environment, model, known, item, served=served)

    def step(actor: Actor) -> None:
        manifest = item.manifest
        row = model or create_model(
            actor=actor, project=environment.project, name=manifest.name, description=manifest.description
        )
        describe_model(actor=actor, model=row, description=manifest.description)
        version = known or register_version(
            actor=actor,
            model=row,
            signature=signature,
            artifact_sha256=item.file.artifact_sha256,
            source=item.file.text,
        )
        if not environment.protected and (known is None or not served):
            promote_version(actor=actor, version=version, environment=environment)

    if details:
        plan.add("model", item.manifest.name, "create" if model is None else "update", *details, step=step)
    else:
        plan.add("model", item.manifest.name, "unchanged")


def _details(
    environment: Environment, model: Model | None, known: ModelVersion | None, item: DeclaredModel, *, served: bool
) -> list[str]:
    details: list[str] = []
    if known is None:
        number = 1 if model is None else _newest_number(model) + 1
        after = "to be approved and promoted" if environment.protected else "takes all traffic"
        details.append(f"version {number} ({item.file.artifact_sha256[:12]}), {after}")
    elif not served and not environment.protected:
        details.append(f"version {known.number} takes all traffic here")
    if model is not None and model.description != item.manifest.description:
        details.append("description")
    return details


def _signature(item: DeclaredModel) -> dict[str, Any]:
    manifest = item.manifest
    return {
        "framework": manifest.framework,
        "inputs": contract_to_spec(manifest.inputs),
        "outputs": [output.model_dump(mode="json") for output in manifest.outputs],
        "metrics": dict(manifest.metrics),
    }


def _artifact_fits(plan: Plan, item: DeclaredModel) -> bool:
    """Load the artifact once, so that a version that cannot be served is refused here rather than in production."""
    from headwater.engines.models.onnx import OnnxExecutor  # noqa: PLC0415 - loads the model runtime

    sha256 = item.file.artifact_sha256
    blobs = open_blobs(configuration.current())
    if not blobs.has(sha256):
        plan.refuse(
            item.file.source, "artifact", f"no artifact {sha256} is stored; PUT /api/v1/artifacts/{sha256} comes first"
        )
        return False
    try:
        OnnxExecutor(blobs.read(sha256), item.manifest.inputs.fields, item.manifest.outputs)
    except HeadwaterError as error:
        plan.errors.extend(errors_in(item.file.source, error))
        return False
    return True


def _log_fits(plan: Plan, model: Model | None, item: DeclaredModel) -> bool:
    """Refuse a signature whose predictions cannot be logged beside those of the version before."""
    from headwater.engines.models.log_schema import conflicts, log_schema  # noqa: PLC0415 - loads Arrow

    newest = model and ModelVersion.objects.for_org(model.org_id).filter(model=model).order_by("-number").first()
    if not newest:
        return True
    outputs = [OutputSpec.model_validate(output) for output in newest.outputs]
    old = log_schema(contract_from_spec(newest.inputs).fields, outputs)
    found = conflicts(old, log_schema(item.manifest.inputs.fields, item.manifest.outputs))
    for conflict in found:
        message = f"{conflict}, and one table logs every version; rename the field, or give the model another name"
        plan.refuse(item.file.source, "", message)
    return not found


def _newest_number(model: Model) -> int:
    newest = ModelVersion.objects.for_org(model.org_id).filter(model=model).order_by("-number").first()
    return newest.number if newest else 0
