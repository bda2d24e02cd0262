"""Pushing one model, as applying a directory with nothing else in it would; and checking what was pushed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from pydantic import ValidationError

from headwater.control import configuration
from headwater.control.catalog.apply import make_plan
from headwater.control.catalog.model_content import content_of, find_version, inspect_models
from headwater.control.catalog.payload import ModelFile, Resources
from headwater.control.catalog.project import read_project
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.registry.checks import check_signature
from headwater.control.registry.content import VersionContent
from headwater.control.registry.demands import CheckResult, check_content
from headwater.control.registry.models import Model, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.engines.blobs import open_blobs
from headwater.engines.models import check_artifact
from headwater.engines.models.manifest import parse_manifest
from headwater.engines.models.manifest_document import Serving

_SOURCE = "model.yaml"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A version that is there now; ``created`` when this push made it."""

    version: ModelVersion
    created: bool


def push_model(*, actor: Actor, environment: Environment, file: Mapping[str, Any]) -> Pushed:
    """Register a version of the model that a manifest declares, unless this very version is there.

    Args:
        actor: who pushes.
        environment: where a new version takes traffic, if it may, and whose rules the manifest declares.
        file: members of a ``ModelFile`` but its source.

    Raises:
        HeadwaterError: ``project_invalid`` with every error; then nothing was changed. ``forbidden``.
    """
    project = read_project(Resources(models=(ModelFile(source=_SOURCE, **file),)))
    inspect_models(environment, project)
    with transaction.atomic():
        plan = make_plan(environment, project)
        before = _find(environment, project.models)
        for step in plan.steps:
            step(actor)
        version = _find(environment, project.models)
    assert version is not None
    return Pushed(version, created=before is None)


def check_again(version: ModelVersion) -> list[CheckResult]:
    """Return what a version's checks find now. Loads and runs its artifact.

    Raises:
        HeadwaterError: ``model_unavailable`` when it cannot be loaded any more.
    """
    blobs = open_blobs(configuration.current())
    artifact = blobs.path(version.artifact_sha256) if version.artifact_sha256 else None
    manifest = parse_manifest(version.source, source=_SOURCE)
    report = check_artifact(manifest, artifact, settings=configuration.current().inference)
    names = VersionContent.__slots__
    content = VersionContent(**{name: getattr(version, name) for name in names})
    return [check_signature(version), *check_content(content, report)]


def read_rules(plain: Mapping[str, Any]) -> ServingSpec:
    """Return serving rules as strictly as a manifest's are read; raises ``invalid_parameter`` naming the member."""
    try:
        return Serving.model_validate(plain).to_spec()
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(["rules", *map(str, found["loc"])])
        raise HeadwaterError("invalid_parameter", f"{where}: {found['msg']}", extra={"path": where}) from error


def _find(environment: Environment, models: Mapping[str, Any]) -> ModelVersion | None:
    (name, item), *_ = models.items()
    rows = Model.objects.for_org(environment.org_id).filter(project_id=environment.project_id, name=name)
    return find_version(rows.first(), content_of(item))
