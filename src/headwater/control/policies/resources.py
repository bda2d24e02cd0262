"""The datasets and endpoints that policies can be about, with their columns, once a project is applied."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.control.catalog.descriptions import Descriptions
from headwater.control.catalog.project import Project
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.engines.query.rules import Columns
from headwater.engines.query.tables import duckdb_columns


class Resources:
    """What there will be; what the project declares comes first."""

    def __init__(self, environment: Environment, project: Project | None = None) -> None:
        """Look at ``environment`` as ``project`` (None: nothing) will leave it."""
        self._endpoints = Descriptions(environment, project or Project())
        self._schemas = self._endpoints.schemas

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
        return sorted(self._endpoints.versions)

    def _answer(self, name: str) -> Columns | None:
        label = self._endpoints.leading(name)
        if label is None:
            return None
        try:
            return [(column.name, column.type) for column in self._endpoints.find(*label).columns]
        except HeadwaterError:
            return ()
