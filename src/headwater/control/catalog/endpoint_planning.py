"""What applying a project would change about its SQL endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from django.db.models import Max

from headwater.control.catalog.actions import publish_endpoint
from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.endpoint_versions import newest_by_version, revisions_of
from headwater.control.catalog.models import Endpoint, EndpointRevision
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredEndpoint, Project, errors_in
from headwater.control.catalog.tables import table_schemas
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec


def plan_endpoints(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every endpoint of a project directory; each may read what the environment will have afterwards.

    Endpoints that the directory does not have are checked as well when it changes what they read: a contract that
    breaks one of them is refused.
    """
    schemas = table_schemas(environment, project)
    endpoints = Endpoint.objects.for_org(environment.org_id).filter(environment=environment)
    existing = {endpoint.name: endpoint for endpoint in endpoints}
    for item in project.endpoints.values():
        file = item.endpoint
        statement = _Statement(item.file.source, file.sql, file.tables, file.parameters)
        columns = _describe(plan, statement, schemas)
        if columns is not None:
            _plan_endpoint(plan, environment, existing.get(file.name), item, columns)
    for versions in newest_by_version(environment).values():
        for revision in versions.values():
            if revision.label not in project.endpoints:
                _check_undeclared(plan, revision, schemas, project)
                note = "not in the project directory; left alone (archive it to stop it)"
                plan.add("endpoint", revision.label, "unchanged", note)


def _plan_endpoint(
    plan: Plan, environment: Environment, endpoint: Endpoint | None, item: DeclaredEndpoint, columns: str
) -> None:
    spec: dict[str, Any] = item.endpoint.to_spec()
    digest = sha256_of(spec)
    newest = None
    if endpoint is not None:
        newest = revisions_of(endpoint, item.endpoint.version).first()
    details: list[str] = []
    if newest is None or newest.spec_sha256 != digest:
        details.append(_revision(endpoint))
        details += _differences(newest.spec, spec) if newest else [_reads(item)]
        details.append(f"answers {columns}")
    if endpoint is not None and endpoint.archived_at is not None:
        details.append("is served again")
    if not details:
        plan.add("endpoint", item.endpoint.label, "unchanged")
        return

    def step(actor: Actor) -> None:
        publish_endpoint(
            actor=actor, environment=environment, name=item.endpoint.name, spec=spec, source=item.file.text
        )

    plan.add("endpoint", item.endpoint.label, "create" if newest is None else "update", *details, step=step)


def _revision(endpoint: Endpoint | None) -> str:
    known = 0 if endpoint is None else endpoint.revisions.aggregate(newest=Max("number"))["newest"]
    return f"revision {(known or 0) + 1}"


def _reads(item: DeclaredEndpoint) -> str:
    return f"reads {', '.join(item.endpoint.tables) or 'no table'}"


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [f"{name} changed" for name in sorted(set(old) | set(new)) if old.get(name) != new.get(name)]


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement to be described, and where it was written."""

    source: str
    sql: str
    tables: Sequence[str]
    parameters: Sequence[ParameterSpec]


def _describe(plan: Plan, statement: _Statement, schemas: Mapping[str, pa.Schema]) -> str | None:
    """Return the result's columns in words, or None once the plan has the reason why there are none."""
    source = statement.source
    missing = sorted(set(statement.tables) - set(schemas))
    known = ", ".join(sorted(schemas)) or "none yet"
    for table in missing:
        plan.refuse(source, "sql", f"there is no dataset {table!r}; there are: {known}")
    if missing:
        return None
    from headwater.engines.query.duck import describe_endpoint  # noqa: PLC0415 - brings DuckDB

    try:
        columns = describe_endpoint(statement.sql, schemas, statement.parameters)
    except HeadwaterError as error:
        plan.errors += [replace(found, path=found.path or "sql") for found in errors_in(source, error)]
        return None
    return ", ".join(f"{column.name} {column.type}" for column in columns)


def _check_undeclared(
    plan: Plan, revision: EndpointRevision, schemas: Mapping[str, pa.Schema], project: Project
) -> None:
    spec = revision.spec
    if not set(spec["tables"]) & set(project.datasets):
        return
    parameters = tuple(ParameterSpec.model_validate(item) for item in spec["parameters"])
    source = f"endpoint {revision.label} (not in the directory)"
    _describe(plan, _Statement(source, spec["sql"], spec["tables"], parameters), schemas)
