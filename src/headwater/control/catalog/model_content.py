"""What the models of a project directory hold, and what loading those that are new shows."""

from __future__ import annotations

from headwater.control import configuration
from headwater.control.catalog.project import DeclaredModel, FileError, Project, errors_in
from headwater.control.orgs.models import Environment
from headwater.control.registry.content import VersionContent
from headwater.control.registry.models import Model, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.engines.blobs import open_blobs
from headwater.engines.models import check_artifact


def content_of(item: DeclaredModel) -> VersionContent:
    """Return what would be sealed as a version."""
    return VersionContent.of_manifest(item.manifest, item.file.artifact_sha256, item.file.profile_sha256)


def find_version(model: Model | None, content: VersionContent) -> ModelVersion | None:
    """Return the newest version of this very content."""
    if model is None:
        return None
    versions = ModelVersion.objects.for_org(model.org_id).filter(model=model).select_related("model__project")
    same = versions.filter(spec_sha256=content.digest())
    # The first release kept no name of who pushed, and its digests left out all but artifact and signature.
    old = versions.filter(spec_sha256=content.digest_of_first_release(), pushed_by="")
    found: ModelVersion | None = (same | old).order_by("-number").first()
    return found


def inspect_models(environment: Environment, project: Project) -> None:
    """Load and run the artifacts of versions that are not there yet; what does not fit becomes an error.

    This takes seconds, so it happens before anything is locked.
    """
    models = Model.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    existing = {model.name: model for model in models}
    for name, item in project.models.items():
        if name not in project.inspections and find_version(existing.get(name), content_of(item)) is None:
            try:
                _inspect(project, name, item)
            except HeadwaterError as error:
                project.errors.extend(errors_in(item.file.source, error))


def _inspect(project: Project, name: str, item: DeclaredModel) -> None:
    blobs = open_blobs(configuration.current())
    wanted = {"artifact": item.file.artifact_sha256, "reference": item.file.profile_sha256}
    missing = {member: sha256 for member, sha256 in wanted.items() if sha256 and not blobs.has(sha256)}
    if item.manifest.artifact is not None and not item.file.artifact_sha256:
        project.errors.append(FileError(item.file.source, "artifact", "its sha256 is missing"))
        return
    for member, sha256 in missing.items():
        message = f"no artifact {sha256} is stored; PUT /api/v1/artifacts/{sha256} comes first"
        project.errors.append(FileError(item.file.source, member, message))
    if not missing:
        artifact = blobs.path(item.file.artifact_sha256) if item.file.artifact_sha256 else None
        project.inspections[name] = check_artifact(item.manifest, artifact, settings=configuration.current().inference)
