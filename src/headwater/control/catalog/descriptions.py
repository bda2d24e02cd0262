"""What the endpoints of an environment answer once a project is applied, and what that is made of.

An endpoint may read others as views. A dataset comes first where both have a name; a view is the leading version of its
endpoint, and stays that version until the reader is published anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headwater.control.catalog.endpoint_versions import newest_by_version
from headwater.control.catalog.project import Project
from headwater.control.catalog.tables import table_schemas
from headwater.control.orgs.models import Environment
from headwater.core.endpoints import ColumnOrigin, endpoint_label, split_label
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.protocol import Column

if TYPE_CHECKING:  # DuckDB, which most of control has no use for
    from headwater.engines.query.walk import CheckedQuery

Label = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Statement:
    """An endpoint's version as declared or stored. ``pins`` are the versions of the views it was published with."""

    sql: str
    parameters: tuple[ParameterSpec, ...]
    is_deprecated: bool = False
    pins: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """What an endpoint answers.

    Attributes:
        columns: those of its result, with DuckDB types.
        tables: every dataset below it, sorted.
        uses: the endpoints that it reads as views, as ``daily@1``, sorted.
        origins: by column, what its value is made of; a column of which that cannot be told is left out.
        view: its query as a view of others.
    """

    columns: tuple[Column, ...]
    tables: tuple[str, ...]
    uses: tuple[str, ...]
    origins: Mapping[str, tuple[ColumnOrigin, ...]]
    view: CheckedQuery


class Descriptions:
    """Describes endpoints as they are asked for, each once."""

    def __init__(self, environment: Environment, project: Project) -> None:
        """Look at ``environment`` as ``project`` will leave it."""
        self.schemas = table_schemas(environment, project)
        self.versions: dict[str, dict[int, Statement]] = defaultdict(dict)
        for name, versions in newest_by_version(environment).items():
            self.versions[name] = {number: _stored(revision.spec) for number, revision in versions.items()}
        for item in project.endpoints.values():
            file = item.endpoint
            statement = Statement(file.sql, file.parameters, file.deprecated_at is not None)
            self.versions[file.name][file.version] = statement
        self._known: dict[Label, Description | HeadwaterError] = {}
        self._under_way: list[Label] = []

    def leading(self, name: str) -> Label | None:
        """Return the version that answers to the bare name; None when there is no such endpoint."""
        versions = self.versions.get(name)
        if not versions:
            return None
        return name, max([number for number, one in versions.items() if not one.is_deprecated] or versions)

    def find(self, name: str, version: int) -> Description:
        """Return the description of a version that there is.

        Raises:
            HeadwaterError: ``sql_rejected`` or ``sql_failed`` when it cannot be served, with the reason.
        """
        label = (name, version)
        if label in self._under_way:
            circle = " reads ".join(one for one, _ in [*self._under_way[self._under_way.index(label) :], label])
            raise HeadwaterError("sql_rejected", f"endpoints read each other in a circle: {circle}", hint="break it")
        known = self._known.get(label)
        if known is None:
            self._under_way.append(label)
            try:
                known = self._describe(label, self.versions[name][version])
            except HeadwaterError as error:
                known = error
            finally:
                self._under_way.pop()
            self._known[label] = known
        if isinstance(known, HeadwaterError):
            raise known
        return known

    def _describe(self, label: Label, statement: Statement) -> Description:
        from headwater.engines.query.describing import describe_query  # noqa: PLC0415 - brings DuckDB
        from headwater.engines.query.parameters import duckdb_types  # noqa: PLC0415 - as above
        from headwater.engines.query.references import check_view, compose  # noqa: PLC0415 - as above
        from headwater.engines.query.tables import duckdb_columns  # noqa: PLC0415 - as above
        from headwater.engines.query.walk import check_query  # noqa: PLC0415 - as above

        types = duckdb_types(statement.parameters)
        query = check_query(statement.sql, parameter_types=types)
        views = {name: self._view(name, statement) for name in query.tables if name not in self.schemas}
        described = {name: self.find(*view) for name, view in views.items()}
        shown = {
            name: [(one.name, one.type) for one in described[name].columns]
            if name in described
            else duckdb_columns(self.schemas[name])
            for name in query.tables
        }
        columns = describe_query(query, shown)
        view = check_view(statement.sql, label, statement.parameters, query.tables)
        complete = compose(view, {name: one.view for name, one in described.items()})
        return Description(
            columns=columns,
            tables=complete.tables,
            uses=tuple(sorted(endpoint_label(*one) for one in views.values())),
            origins=_origins(statement.sql, columns, shown, described),
            view=complete,
        )

    def _view(self, name: str, reader: Statement) -> Label:
        """Return the endpoint that a name which is no dataset's stands for."""
        pinned = reader.pins.get(name)
        label = (name, pinned) if pinned in self.versions.get(name, {}) else self.leading(name)
        if label is None:
            known = ", ".join(sorted(self.schemas)) or "none yet"
            raise HeadwaterError("sql_failed", f"there is no dataset {name!r}; there are: {known}")
        needed = [one.name for one in self.versions[name][label[1]].parameters if one.required]
        if needed:
            raise HeadwaterError(
                "sql_rejected",
                f"the endpoint {name!r} cannot be read as a view: it needs {', '.join(needed)}",
                hint="give its parameters defaults",
            )
        return label


def _stored(spec: Mapping[str, Any]) -> Statement:
    return Statement(
        sql=spec["sql"],
        parameters=tuple(ParameterSpec.model_validate(item) for item in spec["parameters"]),
        is_deprecated=bool(spec.get("deprecated_at")),
        pins={name: version or 1 for name, version in map(split_label, spec.get("uses", ()))},
    )


def _origins(
    sql: str,
    columns: Sequence[Column],
    shown: Mapping[str, Sequence[tuple[str, str]]],
    views: Mapping[str, Description],
) -> dict[str, tuple[ColumnOrigin, ...]]:
    from headwater.engines.query.lineage import find_origins  # noqa: PLC0415 - brings DuckDB

    found = find_origins(sql, {name: [column for column, _ in listed] for name, listed in shown.items()})
    if found is None or len(found) != len(columns):
        return {}
    made: dict[str, tuple[ColumnOrigin, ...]] = {}
    for column, origins in zip(columns, found, strict=True):
        below: set[tuple[str, str]] = set()
        for table, name in origins:
            if table in views:
                below |= {(one.table, one.column) for one in views[table].origins.get(name, ())}
            else:
                below.add((table, name))
        made[column.name] = tuple(ColumnOrigin(table=table, column=name) for table, name in sorted(below))
    return made
