"""What applying a project would change about its policies, and whether those there are still fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredPolicy, Project
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import publish_policy
from headwater.control.policies.fit import content_of, find_principals, live_policies, problems_of, show_principal
from headwater.control.policies.models import AccessPolicy
from headwater.control.policies.resources import Resources
from headwater.engines.query.rules import Columns

_WORDS: Final = {"row_filter": "rows", "expires_at": "expires"}
_PATHS: Final = {"dataset": "dataset", "endpoint": "endpoint"}


def plan_policies(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every policy of a project directory, held against what the environment will have afterwards.

    Policies that the directory does not have are checked as well where it changes what they are about.
    """
    if not project.policies and not _any_policy(environment):
        return
    resources = Resources(environment, project)
    existing = {policy.name: policy for policy in live_policies(environment)}
    for name, item in project.policies.items():
        content, columns = _resolve(plan, environment, item, resources)
        if content is not None and columns is not None:
            _plan_policy(plan, environment, existing.get(name), item, content, columns)
    _check_priorities(plan, project, existing)
    for name, policy in existing.items():
        if name not in project.policies:
            _check_undeclared(plan, policy, resources, project)
            plan.add("policy", name, "unchanged", "not in the project directory; left alone (archive it to end it)")


def _any_policy(environment: Environment) -> bool:
    rows = AccessPolicy.objects.for_org(environment.org_id)
    return bool(rows.filter(environment=environment, archived_at=None).exists())


def _resolve(
    plan: Plan, environment: Environment, item: DeclaredPolicy, resources: Resources
) -> tuple[dict[str, Any] | None, Columns | None]:
    """Return a policy's fields and its resource's columns; None once the plan has the reason why there are none."""
    document, source = item.policy.document, item.file.source
    principals, problems = find_principals(environment, document.principals)
    for problem in problems:
        plan.refuse(source, "principals", problem)
    columns = resources.columns(document.resource)
    if columns is None:
        kind = document.resource.partition(":")[0]
        known = ", ".join(resources.names(kind)) or "none yet"
        plan.refuse(source, _PATHS[kind], f"there is no {document.resource.replace(':', ' ')}; there are: {known}")
        return None, None
    content = document.content(principals)
    found = problems_of(content, columns)
    for fault in found:
        plan.refuse(source, fault.path, fault.message)
    return (None, None) if found or problems else (content, columns)


def _plan_policy(  # noqa: PLR0917 - the parts of one policy
    plan: Plan,
    environment: Environment,
    policy: AccessPolicy | None,
    item: DeclaredPolicy,
    content: dict[str, Any],
    columns: Columns,
) -> None:
    name, source = item.policy.name, item.file.source
    if policy is not None and policy.resource != content["resource"]:
        plan.refuse(
            source, "dataset", f"{name} is a policy on {policy.resource}; archive it, or name this one otherwise"
        )
        return
    details = _summary(item) if policy is None else _differences(environment, content_of(policy), content)
    if policy is not None and not details:
        plan.add("policy", name, "unchanged")
        return

    def step(actor: Actor) -> None:
        publish_policy(actor=actor, environment=environment, name=name, content=content, columns=columns)

    plan.add("policy", name, "create" if policy is None else "update", *details, step=step)


def _summary(item: DeclaredPolicy) -> list[str]:
    document = item.policy.document
    return [
        f"on {document.resource.replace(':', ' ')}, priority {document.priority}",
        f"for {', '.join(document.principals)}",
        f"rows where {document.rows.strip()}" if document.rows.strip() else "every row",
        *(f"{column}: {mask}" for column, mask in document.columns.items()),
    ]


def _differences(environment: Environment, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for field in new:
        if old[field] == new[field]:
            continue
        before, after = old[field], new[field]
        if field == "principals":
            before, after = ([show_principal(environment, one) for one in each] for each in (before, after))
        found.append(f"{_WORDS.get(field, field)}: {_shown(before)} → {_shown(after)}")
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "none"
    return str(value) if value not in (None, "") else "none"


def _check_priorities(plan: Plan, project: Project, existing: Mapping[str, AccessPolicy]) -> None:
    """Refuse two policies on one resource with the same priority, wherever they come from."""
    taken = {
        (policy.resource, policy.priority): policy.name
        for name, policy in existing.items()
        if name not in project.policies
    }
    for name, item in project.policies.items():
        document = item.policy.document
        place = (document.resource, document.priority)
        other = taken.setdefault(place, name)
        if other != name:
            plan.refuse(
                item.file.source, "priority", f"{other} has priority {document.priority} on {document.resource} already"
            )


def _check_undeclared(plan: Plan, policy: AccessPolicy, resources: Resources, project: Project) -> None:
    kind, _, name = policy.resource.partition(":")
    declared = {item.endpoint.name for item in project.endpoints.values()}
    if name not in (project.datasets if kind == "dataset" else declared):
        return
    columns = resources.columns(policy.resource)
    source = f"policy {policy.name} (not in the directory)"
    for problem in problems_of(content_of(policy), columns or ()):
        plan.refuse(source, problem.path, problem.message)
