"""Pushing, checking, approving and archiving versions."""

# ruff: noqa: ARG001 - actor and reason are for the decorator

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db.models import Max
from django.utils import timezone

from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Project
from headwater.control.registry.checks import check_signature
from headwater.control.registry.content import VersionContent
from headwater.control.registry.demands import CheckResult
from headwater.control.registry.models import Approval, LineageEdge, Model, ModelVersion, VersionCheck
from headwater.control.registry.records import who_and_why
from headwater.core.errors import HeadwaterError

MAX_TAGS: Final = 100
MAX_TAG_LENGTH: Final = 5_000
State = ModelVersion.State
Status = VersionCheck.Status


@action("registry.model.created", permission="model.write", on="project")
def create_model(*, actor: Actor, project: Project, name: str, description: str = "") -> Model:
    """Create a model without versions."""
    model = Model(org_id=project.org_id, project=project, name=name, description=description)
    model.save()
    return model


@action("registry.model.described", permission="model.write", on="model")
def describe_model(*, actor: Actor, model: Model, description: str) -> Model:
    """Change what a model says about itself."""
    model.change(description=description)
    return model


@action("registry.model.tagged", permission="model.write", on="model")
def tag_model(*, actor: Actor, model: Model, tags: Mapping[str, str | None]) -> Model:
    """Set tags of a model; None takes one away, and those not named stay."""
    model.change(tags=_merged(model.tags, tags))
    return model


@action("registry.version.registered", permission="model.write", on="model")
def register_version(
    *,
    actor: Actor,
    model: Model,
    content: VersionContent,
    artifact_bytes: int | None = None,
    source: str = "",
) -> ModelVersion:
    """Add a version to a model. The caller has checked that the artifact is stored and the signature holds.

    Args:
        actor: who pushes.
        model: the model.
        content: what is sealed.
        artifact_bytes: the artifact's size.
        source: the manifest as it was written.
    """
    versions = ModelVersion.objects.for_org(model.org_id).filter(model=model)
    version = ModelVersion(
        org_id=model.org_id,
        model=model,
        number=int(versions.aggregate(newest=Max("number"))["newest"] or 0) + 1,
        **content.plain(),
        artifact_bytes=artifact_bytes,
        pushed_by=actor.id,
        pushed_by_label=actor.label[:300],
        spec_sha256=content.digest(),
        source=source,
    )
    version.save()
    for edge in _lineage(version):
        edge.save()
    return version


@action("registry.version.tagged", permission="model.write", on="version")
def tag_version(*, actor: Actor, version: ModelVersion, tags: Mapping[str, str | None]) -> ModelVersion:
    """Set tags of a version; None takes one away, and those not named stay."""
    version.change(tags=_merged(version.tags, tags))
    return version


@action("registry.version.checked", permission="model.write", on="version")
def record_checks(*, actor: Actor, version: ModelVersion, results: Sequence[CheckResult]) -> list[VersionCheck]:
    """Keep what checks found, each in place of what it found before; the state follows."""
    return _keep_checks(version, results)


def _keep_checks(version: ModelVersion, results: Sequence[CheckResult]) -> list[VersionCheck]:
    now = timezone.now()
    known = {check.name: check for check in VersionCheck.objects.for_org(version.org_id).filter(version=version)}
    for result in results:
        check = known.get(result.name)
        if check is None:
            check = VersionCheck(
                org_id=version.org_id, version=version, name=result.name, status=result.status, detail=result.detail,
                at=now,
            )  # fmt: skip
            check.save()
            known[result.name] = check
        elif (check.status, check.detail) != (result.status, result.detail):
            check.change(status=result.status, detail=result.detail, at=now)
    if version.state in (State.REGISTERED, State.VALIDATED):
        failed = any(check.status == Status.FAILED for check in known.values())
        version.change(state=State.REGISTERED if failed else State.VALIDATED)
    return list(known.values())


@action("registry.version.approved", permission="model.approve", on="version")
def approve_version(*, actor: Actor, version: ModelVersion, reason: str = "", override: bool = False) -> ModelVersion:
    """Allow a version in protected environments; ``override`` lets it pass in spite of failed checks.

    Raises:
        HeadwaterError: ``invalid_parameter`` without a reason, ``forbidden`` for whoever pushed it, ``conflict`` for an
            archived version, or naming the checks that failed.
    """
    if version.state == State.APPROVED:
        return version
    if version.state == State.ARCHIVED:
        raise HeadwaterError("conflict", f"{version} is archived", hint="register a new version")
    if not reason.strip():
        raise HeadwaterError("invalid_parameter", "an approval needs a reason", hint="say why it may be served")
    if actor.kind != "system" and actor.id == version.pushed_by:
        raise HeadwaterError("forbidden", f"{actor.label} pushed {version}", hint="somebody else has to approve it")
    # What is served may have changed since the version was pushed.
    _keep_checks(version, [check_signature(version)])
    failed = VersionCheck.objects.for_org(version.org_id).filter(version=version, status=Status.FAILED)
    if failed and not override:
        listed = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        raise HeadwaterError(
            "conflict",
            f"{version} failed its checks: {listed}",
            hint="push a version that passes, or override them with a reason",
            extra={"failed": [check.name for check in failed]},
        )
    approval = Approval(
        org_id=version.org_id,
        version=version,
        **who_and_why(),
        overridden=[check.name for check in failed],
    )
    approval.save()
    version.change(state=State.APPROVED)
    return version


@action("registry.version.archived", permission="model.write", on="version")
def archive_version(*, actor: Actor, version: ModelVersion, reason: str = "") -> ModelVersion:
    """Take a version out of use; raises ``conflict`` while it is deployed or named by an alias."""
    places = [str(item.environment) for item in version.deployments.select_related("environment__project")]
    names = [f"@{alias.name}" for alias in version.aliases.all()]
    if places or names:
        uses = [f"served in {', '.join(places)}"] if places else []
        uses += [f"called {', '.join(names)}"] if names else []
        raise HeadwaterError(
            "conflict", f"{version} is in use: {' and '.join(uses)}", hint="promote another version first"
        )
    version.change(state=State.ARCHIVED)
    return version


def _lineage(version: ModelVersion) -> list[LineageEdge]:
    """Return what the version depends on, by name."""
    edges = []
    if version.training.get("dataset"):
        edges.append(_edge(version, LineageEdge.Kind.TRAINED_ON, version.training["dataset"], []))
        edges[0].table_version = version.training.get("version")
    views: dict[str, list[str]] = {}
    for reference in version.features:
        views.setdefault(reference["view"], []).append(reference["feature"])
    return edges + [_edge(version, LineageEdge.Kind.READS_VIEW, name, members) for name, members in views.items()]


def _edge(version: ModelVersion, kind: LineageEdge.Kind, name: str, members: list[str]) -> LineageEdge:
    return LineageEdge(org_id=version.org_id, version=version, kind=kind, name=name, members=members)


def _merged(tags: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, Any]:
    merged = dict(tags) | dict(changes)
    kept = {name: value for name, value in merged.items() if value is not None}
    if len(kept) > MAX_TAGS or any(not name or len(name) + len(value) > MAX_TAG_LENGTH for name, value in kept.items()):
        raise HeadwaterError(
            "invalid_parameter", f"at most {MAX_TAGS} tags of {MAX_TAG_LENGTH:,} characters can be set"
        )
    return dict(sorted(kept.items()))
