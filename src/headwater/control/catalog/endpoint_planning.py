"""What applying a project would change about its SQL endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db.models import Max

from headwater.control.catalog.actions import publish_endpoint
from headwater.control.catalog.descriptions import Description, Descriptions
from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.endpoint_versions import newest_by_version, revisions_of
from headwater.control.catalog.models import Endpoint, EndpointRevision
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredEndpoint, Project, errors_in
from headwater.control.catalog.result_contracts import (
    all_changes,
    breaking_changes,
    contract_faults,
    inferred,
    stored_columns,
)
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


def plan_endpoints(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every endpoint of a project directory; each may read what the environment will have afterwards.

    Endpoints that the directory does not have are checked as well when it changes what they read: a contract that
    breaks one of them is refused.
    """
    descriptions = Descriptions(environment, project)
    existing = {row.name: row for row in Endpoint.objects.for_org(environment.org_id).filter(environment=environment)}
    for item in project.endpoints.values():
        file = item.endpoint
        description = _describe(plan, descriptions, item.file.source, file.name, file.version)
        if description is not None and _keeps_its_word(plan, item, description):
            _plan_endpoint(plan, environment, existing.get(file.name), item, description)
    for versions in newest_by_version(environment).values():
        for revision in versions.values():
            if revision.label not in project.endpoints:
                notes = _check_undeclared(plan, descriptions, revision, project)
                there = "not in the project directory; left alone (archive it to stop it)"
                plan.add("endpoint", revision.label, "unchanged", there, *notes)


def _plan_endpoint(
    plan: Plan, environment: Environment, endpoint: Endpoint | None, item: DeclaredEndpoint, description: Description
) -> None:
    file = item.endpoint
    spec = _complete_spec(item, description)
    newest: EndpointRevision | None = None if endpoint is None else revisions_of(endpoint, file.version).first()
    if newest is not None and _breaks(plan, item, newest, description):
        return
    details: list[str] = []
    if newest is None or newest.spec_sha256 != sha256_of(spec):
        details.append(_revision(endpoint))
        details += _differences(newest.spec, spec, description) if newest else [_reads(description)]
        details.append(f"answers {', '.join(f'{column.name} {column.type}' for column in description.columns)}")
        details += _made_of(description)
    if endpoint is not None and endpoint.archived_at is not None:
        details.append("is served again")
    if not details:
        plan.add("endpoint", file.label, "unchanged")
        return

    def step(actor: Actor) -> None:
        publish_endpoint(actor=actor, environment=environment, name=file.name, spec=spec, source=item.file.text)

    plan.add("endpoint", file.label, "create" if newest is None else "update", *details, step=step)


def _describe(plan: Plan, descriptions: Descriptions, source: str, name: str, version: int) -> Description | None:
    """Return what it answers, or None once the plan has the reason why there is nothing."""
    try:
        return descriptions.find(name, version)
    except HeadwaterError as error:
        plan.errors += [replace(found, path=found.path or "sql") for found in errors_in(source, error)]
        return None


def _keeps_its_word(plan: Plan, item: DeclaredEndpoint, description: Description) -> bool:
    """Return whether the SQL answers what the header declares, and the columns of its key."""
    file = item.endpoint
    faults = list(contract_faults(file.columns, description.columns)) if file.columns else []
    names = [column.name for column in description.columns]
    faults += [
        ("key", f"the SQL answers no column {name!r}; it answers: {', '.join(names)}")
        for name in file.key
        if name not in names
    ]
    for path, message in faults:
        plan.refuse(item.file.source, path, message)
    return not faults


def _breaks(plan: Plan, item: DeclaredEndpoint, newest: EndpointRevision, description: Description) -> bool:
    """Return whether a contract that was given is broken under the same version; the plan then says what by."""
    if newest.spec.get("is_inferred"):
        return False
    changes = breaking_changes(stored_columns(newest.spec), description.columns)
    if changes:
        file = item.endpoint
        plan.refuse(
            item.file.source,
            "columns",
            f"this breaks those who read {file.label}: {'; '.join(changes)}; declare it in a file of its own as "
            f"`version: {file.version + 1}` (for instance {file.name}@{file.version + 1}.sql), and keep this one",
        )
    return bool(changes)


def _complete_spec(item: DeclaredEndpoint, description: Description) -> dict[str, Any]:
    """Return what the file says, with what was found out about its SQL."""
    file = item.endpoint
    columns = file.columns or inferred(description.columns)
    found: dict[str, Any] = {
        "tables": list(description.tables),
        "columns": [column.model_dump() for column in columns],
        "is_inferred": not file.columns,
        "origins": {name: [one.model_dump() for one in origins] for name, origins in description.origins.items()},
        "uses": list(description.uses),
    }
    return file.to_spec() | {name: value for name, value in found.items() if value or name == "tables"}


def _revision(endpoint: Endpoint | None) -> str:
    known = 0 if endpoint is None else endpoint.revisions.aggregate(newest=Max("number"))["newest"]
    return f"revision {(known or 0) + 1}"


def _reads(description: Description) -> str:
    views = [f"the endpoint {label}" for label in description.uses]
    return f"reads {', '.join([*description.tables, *views]) or 'no table'}"


def _made_of(description: Description) -> list[str]:
    """Return the columns whose values come from columns of other names, or of several."""
    return [
        f"{name} comes from {', '.join(f'{one.table}.{one.column}' for one in origins)}"
        for name, origins in description.origins.items()
        if origins and [one.column for one in origins] != [name]
    ]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], description: Description) -> list[str]:
    lines = [f"{name} changed" for name in sorted(set(old) | set(new)) if old.get(name) != new.get(name)]
    if old.get("columns"):
        lines += [f"result: {change}" for change in all_changes(stored_columns(old), description.columns)]
    return lines


def _check_undeclared(
    plan: Plan, descriptions: Descriptions, revision: EndpointRevision, project: Project
) -> list[str]:
    """Refuse what breaks an endpoint that the directory does not have; return what changes about its answer."""
    spec = revision.spec
    views = {label.partition("@")[0] for label in spec.get("uses", ())}
    changed = {item.endpoint.name for item in project.endpoints.values()}
    if not set(spec["tables"]) & set(project.datasets) and not views & changed:
        return []
    source = f"endpoint {revision.label} (not in the directory)"
    description = _describe(plan, descriptions, source, revision.endpoint.name, revision.version)
    if description is None:
        return []
    before = stored_columns(spec)
    broken = [] if spec.get("is_inferred") else breaking_changes(before, description.columns)
    for change in broken:
        plan.refuse(source, "columns", f"its result would break: {change}")
    return [f"its result: {change}" for change in all_changes(before, description.columns)] if before else []
