"""The datasets and endpoints that policies can be about, with their columns, once a project is applied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from headwater.control.catalog.models import Endpoint, EndpointRevision
from headwater.control.catalog.project import Project
from headwater.control.catalog.tables import table_schemas
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.rules import Columns
from headwater.engines.query.tables import duckdb_columns


class Resources:
    """What there will be; what the project declares comes first."""

    def __init__(self, environment: Environment, project: Project | None = None) -> None:
        """Look at ``environment`` as ``project`` (None: nothing) will leave it."""
        self._environment = environment
        self._project = project or Project()
        self._schemas = table_schemas(environment, self._project)

    def columns(self, resource: str) -> Columns | None:
        """Return the columns of a resource with their DuckDB types; None when there is no such resource.

        An endpoint that cannot be described has none: its own error says why.
        """
        kind, _, name = resource.partition(":")
        if kind == "dataset":
            schema = self._schemas.get(name)
            return None if schema is None else duckdb_columns(schema)
        return self._answer(name)

    def names(self, kind: str) -> Sequence[str]:
        """Return the names of every dataset or endpoint there will be."""
        if kind == "dataset":
            return sorted(self._schemas)
        return sorted({*self._project.endpoints, *self._stored})

    @cached_property
    def _stored(self) -> dict[str, Endpoint]:
        rows = Endpoint.objects.for_org(self._environment.org_id).filter(
            environment=self._environment, archived_at=None
        )
        return {row.name: row for row in rows}

    def _answer(self, name: str) -> Columns | None:
        declared = self._project.endpoints.get(name)
        if declared is not None:
            return self._describe(declared.endpoint.sql, declared.endpoint.parameters)
        endpoint = self._stored.get(name)
        if endpoint is None:
            return None
        revisions = EndpointRevision.objects.for_org(endpoint.org_id).filter(endpoint=endpoint)
        newest = revisions.order_by("-number").first()
        if newest is None:
            return None
        parameters = [ParameterSpec.model_validate(item) for item in newest.spec["parameters"]]
        return self._describe(newest.spec["sql"], parameters)

    def _describe(self, sql: str, parameters: Sequence[ParameterSpec]) -> Columns:
        from headwater.engines.query.duck import describe_endpoint  # noqa: PLC0415 - brings DuckDB

        try:
            return [(column.name, column.type) for column in describe_endpoint(sql, self._schemas, parameters)]
        except HeadwaterError:
            return ()
