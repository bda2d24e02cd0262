"""What applying a project would change about its models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.model_content import content_of, find_version
from headwater.control.catalog.model_features import check_features
from headwater.control.catalog.payload import Verb
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredModel, Project
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import (
    change_serving,
    create_model,
    describe_model,
    promote_version,
    record_checks,
    register_version,
)
from headwater.control.registry.checks import check_parity
from headwater.control.registry.content import VersionContent
from headwater.control.registry.demands import OWN_DEMANDS, CheckResult, check_content
from headwater.control.registry.models import Deployment, Model, ModelVersion
from headwater.control.registry.queries import newest_rollout
from headwater.core.snapshot import OutputSpec, ServingSpec
from headwater.engines.models.checking import ArtifactReport


@dataclass(frozen=True, slots=True)
class _Case:
    """A declared model beside what there is of it."""

    environment: Environment
    item: DeclaredModel
    content: VersionContent
    model: Model | None
    known: ModelVersion | None
    inspection: ArtifactReport | None
    checks: Sequence[CheckResult]

    @property
    def served(self) -> bool:
        """Return whether some version is served here."""
        return self.model is not None and self.model.deployments.filter(environment=self.environment).exists()

    @property
    def takes_traffic(self) -> bool:
        """Return whether the version is promoted at once.

        A new version takes all traffic, unless somebody has to approve it, its author asked for more than it holds, or
        whoever pushed it wants to wait. One that exists already is left as people routed it.
        """
        waits = self.environment.protected or self.item.file.hold or _falls_short(self.checks)
        return not waits and (self.known is None or not self.served)

    @property
    def rules(self) -> ServingSpec | None:
        """Return the serving rules that the directory declares anew, None where it says what it said before."""
        rollout = newest_rollout(self.model, self.environment.pk) if self.model else None
        before = ServingSpec.model_validate(rollout.declared if rollout else {})
        return self.item.manifest.serving if self.item.manifest.serving != before else None


def plan_models(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every model of a project directory; those that are new were inspected before."""
    models = Model.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    existing = {model.name: model for model in models}
    for name, item in project.models.items():
        if not check_features(plan, environment, project, item):
            continue
        _plan_model(plan, _case(environment, existing.get(name), item, project.inspections.get(name)))
    deployed = Deployment.objects.for_org(environment.org_id).filter(environment=environment)
    for name in sorted({item.model.name for item in deployed.select_related("model")} - set(project.models)):
        plan.add("model", name, "unchanged", "not in the project directory; left alone")


def _case(
    environment: Environment, model: Model | None, item: DeclaredModel, inspection: ArtifactReport | None
) -> _Case:
    content = content_of(item)
    known = find_version(model, content)
    checks: list[CheckResult] = []
    if known is None and inspection is not None:
        parity = check_parity(model, (content.inputs, content.outputs, content.features))
        checks = [parity, *check_content(content, inspection)]
    return _Case(environment, item, content, model, known, inspection, checks)


def _plan_model(plan: Plan, case: _Case) -> None:
    manifest = case.item.manifest
    if case.known is None and (case.inspection is None or not _log_fits(plan, case.model, case.item)):
        return
    details = list(_details(case))
    if details:
        action: Verb = "create" if case.model is None else "update"
        plan.add("model", manifest.name, action, *details, step=lambda actor: _make(actor, case))
    else:
        plan.add("model", manifest.name, "unchanged")


def _make(actor: Actor, case: _Case) -> None:
    environment, manifest = case.environment, case.item.manifest
    model = case.model or create_model(
        actor=actor, project=environment.project, name=manifest.name, description=manifest.description
    )
    describe_model(actor=actor, model=model, description=manifest.description)
    version = case.known
    if version is None:
        version = register_version(
            actor=actor,
            model=model,
            content=case.content,
            artifact_bytes=case.inspection.size_bytes if case.inspection else None,
            source=case.item.file.text,
        )
        record_checks(actor=actor, version=version, results=case.checks)
    if case.rules is not None:
        change_serving(actor=actor, model=model, environment=environment, rules=case.rules, declared=case.rules)
    if case.takes_traffic:
        promote_version(actor=actor, version=version, environment=environment)


def _details(case: _Case) -> Iterator[str]:
    if case.known is None:
        number = 1 if case.model is None else _newest_number(case.model) + 1
        digest = case.content.artifact_sha256[:12] or case.content.framework
        yield f"version {number} ({digest}), {_destiny(case)}"
        yield from _check_lines(case.checks)
    elif case.takes_traffic:
        yield f"version {case.known.number} takes all traffic here"
    if case.model is not None and case.model.description != case.item.manifest.description:
        yield "description"
    if case.rules is not None:
        yield from _rule_lines(case)


def _destiny(case: _Case) -> str:
    if case.environment.protected:
        return "to be approved and promoted"
    if case.takes_traffic:
        return "takes all traffic"
    return "takes no traffic: a check failed" if _falls_short(case.checks) else "takes no traffic yet"


def _check_lines(checks: Sequence[CheckResult]) -> Iterator[str]:
    counted = Counter(check.status for check in checks)
    yield "checks: " + ", ".join(f"{count} {status}" for status, count in counted.most_common())
    for check in checks:
        if check.status in ("failed", "warned"):
            yield f"check {check.name} {check.status}: {check.detail}"


def _rule_lines(case: _Case) -> Iterator[str]:
    rollout = newest_rollout(case.model, case.environment.pk) if case.model else None
    before = ServingSpec.model_validate(rollout.rules if rollout else {})
    after = case.rules or before
    for name in ServingSpec.model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"serving.{name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    if isinstance(value, (str, int, float)) or value is None:
        return "none" if value is None else str(value)
    members: Mapping[str, object] = value.model_dump(exclude_defaults=True) if hasattr(value, "model_dump") else {}
    return ", ".join(f"{name} {member}" for name, member in members.items()) or "the defaults"


def _falls_short(checks: Sequence[CheckResult]) -> bool:
    return any(check.status == "failed" and check.name in OWN_DEMANDS for check in checks)


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
