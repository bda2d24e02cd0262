"""Models in the registry, without artifacts: nothing here is loaded."""

from __future__ import annotations

from typing import Any

from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import create_model, register_version
from headwater.control.registry.content import VersionContent
from headwater.control.registry.models import Model, ModelVersion

INPUTS: dict[str, Any] = {"name": "delay", "version": "1", "fields": []}
OUTPUTS: list[dict[str, Any]] = [{"name": "score", "type": "number"}]


def make_content(artifact: str = "a", **more: Any) -> VersionContent:
    """Return a version's content; ``artifact`` is a hexadecimal digit that stands for its digest."""
    members = {"framework": "onnx", "inputs": INPUTS, "outputs": OUTPUTS, "artifact_sha256": artifact * 64}
    return VersionContent(**(members | more))


def make_model(environment: Environment, name: str = "delay", actor: Actor = SYSTEM) -> Model:
    return create_model(actor=actor, project=environment.project, name=name)


def make_version(model: Model, artifact: str = "a", actor: Actor = SYSTEM, **more: Any) -> ModelVersion:
    return register_version(actor=actor, model=model, content=make_content(artifact, **more))
