"""Endpoints ready to be asked: their SQL checked, the views in it put in place, and what has to be decided of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson

from headwater.core.endpoints import endpoint_label
from headwater.core.errors import HeadwaterError
from headwater.core.policies import PolicySpec
from headwater.core.snapshot import EndpointSpec, ParameterSpec
from headwater.engines.query.describing import describe_sources
from headwater.engines.query.parameters import (
    ParameterFault,
    bind,
    compile_pattern,
    duckdb_types,
    relative_defaults,
    typed_defaults,
)
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.references import check_view, compose, view_parameter, within, wrap
from headwater.engines.query.walk import CheckedQuery, check_query
from headwater.services.kit.service import Caller
from headwater.services.query.rulings import Policed, Ruling
from headwater.services.query.shown_tables import QueryTable

MAX_PAGE_ROWS: Final = 10_000
MAX_CHOICES: Final = 1_000
_ROWS_OF: Final = "rows:"


@dataclass(frozen=True, slots=True)
class PageOf:
    """Which page of a result is asked for.

    Attributes:
        limit: how many rows it has.
        after: the key of the last row of the page before; None for the first.
        sign: makes the cursor to the next page of the last row's key and the versions of the tables.
    """

    limit: int
    after: tuple[Any, ...] | None
    sign: Callable[[Sequence[Any], Sequence[int | None]], str] = field(compare=False)

    @property
    def values(self) -> dict[str, Any]:
        """Return what its SQL binds."""
        return {f"_after_{index}": value for index, value in enumerate(self.after or ())}


@dataclass(frozen=True, slots=True)
class CompiledEndpoint:
    """An endpoint ready to be asked; ``fault`` says why it cannot be.

    Attributes:
        query: its checked SQL with the views in it; None with a fault.
        parameters: by name.
        defaults: typed values of the parameters that have a fixed one.
        tables: those below it, in the order of their names.
        policed: what has to be decided of each of them, then of the views that have policies, then of its answer;
            empty when nothing has.
        seed: digest of all that its results depend on beside parameters, table versions and format.
        own: its checked SQL alone; ``as_view`` the same with the parameters named as within another.
        views: the endpoints that it names as tables.
        policed_views: those of them, and below them, that have policies on their answers.
        choices: by parameter, what answers the values that it may have.
        page: the page of its result that is asked for; None: all of it.
    """

    spec: EndpointSpec
    query: CheckedQuery | None
    parameters: Mapping[str, ParameterSpec]
    defaults: Mapping[str, Any]
    tables: tuple[QueryTable, ...]
    streams: tuple[str, ...]
    seed: bytes
    fault: HeadwaterError | None = None
    policed: tuple[Policed | None, ...] = ()
    own: CheckedQuery | None = None
    as_view: CheckedQuery | None = None
    views: Mapping[str, CompiledEndpoint] = field(default_factory=dict)
    policed_views: tuple[CompiledEndpoint, ...] = ()
    choices: Mapping[str, CompiledEndpoint] = field(default_factory=dict)
    page: PageOf | None = None

    @property
    def kind(self) -> str:
        """Return what ``meta`` calls it: an endpoint, or the dataset whose rows it reads."""
        return "dataset" if self.spec.id.startswith(_ROWS_OF) else "endpoint"

    @property
    def label(self) -> str:
        """Return name and version."""
        return endpoint_label(self.spec.name, self.spec.version)

    @property
    def resources(self) -> list[str]:
        """Return what ``policed`` is about: tables, then ``endpoint:`` and the name of views and of itself."""
        views = [f"endpoint:{view.spec.name}" for view in self.policed_views]
        return [*(table.name for table in self.tables), *views, f"endpoint:{self.spec.name}"]

    @property
    def lists(self) -> frozenset[str]:
        """Return the parameters that may have several values."""
        return frozenset(name for name, one in self.parameters.items() if one.is_list)

    def is_open_to(self, caller: Caller) -> bool:
        """Return whether ``caller`` may invoke it: by permission and, where it names roles, by role."""
        key = caller.key
        if not key.can("endpoint.invoke", self.spec.name):
            return False
        return not self.spec.roles or bool(set(self.spec.roles).intersection(key.roles))

    def read_values(self, given: Mapping[str, Any], *, is_text: bool, now: datetime) -> dict[str, Any]:
        """Return a value for everything its SQL binds, also for the parameters of the views in it.

        Raises:
            HeadwaterError: ``parameter_invalid`` listing every fault.
        """
        defaults = self.defaults
        if any(one.relative is not None for one in self.parameters.values()):
            defaults = {**defaults, **relative_defaults(self.spec.parameters, now)}
        values = bind(self.parameters, given, is_text=is_text, defaults=defaults)
        return values | self.view_values(now) if self.views else values

    def view_values(self, now: datetime) -> dict[str, Any]:
        """Return the defaults of the views below it, by the names that these have there."""
        values: dict[str, Any] = {}
        for view in self.views.values():
            spec = view.spec
            known = {**view.defaults, **relative_defaults(spec.parameters, now)}
            for name in view.parameters:
                values[view_parameter(spec.name, spec.version, name)] = known.get(name)
            values |= view.view_values(now)
        return values

    def query_for(self, sources: Mapping[str, TableSource], rulings: Sequence[Ruling | None]) -> CheckedQuery:
        """Return its SQL with each view as the policy on that view's answer shows it, cut to the page asked for.

        A page is cut from the answer as the policy on it shows it; without a page that policy is not in the SQL.

        Args:
            sources: the tables as they are shown.
            rulings: what was decided of everything in ``policed``; empty when nothing had to be.

        Raises:
            HeadwaterError: ``forbidden`` when a policy does not fit what a view answers.
        """
        assert self.query is not None, "no endpoint with a fault is asked"
        first = len(self.tables)
        decided = {
            view.label: ruling
            for view, ruling in zip(self.policed_views, rulings[first:-1], strict=False)
            if ruling is not None
        }
        query = _compose(self, self.own, sources, decided) if decided else self.query
        return query if self.page is None else _cut(query, self, sources, rulings[-1] if rulings else None)


def _cut(
    query: CheckedQuery, endpoint: CompiledEndpoint, sources: Mapping[str, TableSource], ruling: Ruling | None
) -> CheckedQuery:
    """Return the rows behind a key in its order, and one more than the page has: whether there is a next one."""
    columns = [(column.name, column.type) for column in describe_sources(query, sources)]
    if ruling is not None and ruling.shown is not None:
        query = within(query, ruling.shown.rule(columns))
        columns = [(column.name, column.type) for column in describe_sources(query, sources)]
    types = dict(columns)
    page, key = endpoint.page, endpoint.spec.key
    assert page is not None, "only pages are cut"
    if not set(key) <= set(types):
        raise HeadwaterError(
            "forbidden", f"this key sees no {', '.join(sorted(set(key) - set(types)))}, which pages go by",
            hint="ask for the result whole",
        )  # fmt: skip
    condition = _behind([(quote(name), f"CAST($_after_{index} AS {types[name]})") for index, name in enumerate(key)])
    where = f" WHERE {condition}" if page.after is not None else ""
    order = ", ".join(f"{quote(name)} ASC NULLS LAST" for name in key)
    cut = wrap(query, "SELECT * FROM (", f') AS "page"{where} ORDER BY {order} LIMIT {page.limit + 1}')
    return replace(cut, parameters=tuple(sorted({*query.parameters, *page.values})))


def _behind(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the condition that a row comes after these values; null comes after everything."""
    (column, value), *others = pairs
    later = f"({column} > {value} OR ({column} IS NULL AND {value} IS NOT NULL))"
    return f"({later} OR ({column} IS NOT DISTINCT FROM {value} AND {_behind(others)}))" if others else later


def _compose(
    endpoint: CompiledEndpoint,
    query: CheckedQuery | None,
    sources: Mapping[str, TableSource],
    decided: Mapping[str, Ruling],
) -> CheckedQuery:
    assert query is not None, "no endpoint with a fault is asked"
    views: dict[str, CheckedQuery] = {}
    for name, view in endpoint.views.items():
        shown = _compose(view, view.as_view, sources, decided)
        ruling = decided.get(view.label)
        if ruling is not None and ruling.shown is not None:
            columns = [(column.name, column.type) for column in describe_sources(shown, sources)]
            shown = within(shown, ruling.shown.rule(columns))
        views[name] = shown
    return compose(query, views)


def rows_spec(table: str) -> EndpointSpec:
    """Return the endpoint that the rows of a table are read by, from the first to the newest."""
    return EndpointSpec(
        id=f"{_ROWS_OF}{table}",
        name=table,
        revision=1,
        sql=f"SELECT * FROM {quote(table)} WHERE $after IS NULL OR _hw_seq > $after ORDER BY _hw_seq LIMIT $limit",  # noqa: S608 - a dataset's name, quoted
        tables=(table,),
        parameters=(
            ParameterSpec(name="after", type="integer", description="`_hw_seq` of the last row seen"),
            ParameterSpec(name="limit", type="integer", default=100, ge=1, le=MAX_PAGE_ROWS),
        ),
        max_rows=MAX_PAGE_ROWS,
    )


def compile_endpoint(
    spec: EndpointSpec,
    tables: Mapping[str, QueryTable],
    engine: str,
    policies: tuple[PolicySpec, ...] = (),
    views: Mapping[str, CompiledEndpoint] | None = None,
) -> CompiledEndpoint:
    """Return an endpoint ready to be asked, or with the fault that keeps it from that.

    Args:
        spec: the endpoint.
        tables: those it may read.
        engine: name and version of what runs the SQL.
        policies: those on its answer.
        views: the endpoints that it reads, by the names it has for them.
    """
    views = views or {}
    try:
        return _compile(spec, {name: one for name, one in tables.items() if name not in views}, engine, policies, views)
    except (HeadwaterError, ParameterFault) as error:
        return faulty(spec, error.detail if isinstance(error, HeadwaterError) else str(error))


def faulty(spec: EndpointSpec, detail: str) -> CompiledEndpoint:
    """Return an endpoint that cannot be asked."""
    fault = HeadwaterError(
        "sql_rejected", f"the endpoint cannot be served: {detail}", hint="apply a mended endpoint file"
    )
    return CompiledEndpoint(spec, None, {}, {}, (), (), b"", fault)


def _compile(
    spec: EndpointSpec,
    tables: Mapping[str, QueryTable],
    engine: str,
    policies: tuple[PolicySpec, ...],
    views: Mapping[str, CompiledEndpoint],
) -> CompiledEndpoint:
    named = [*tables, *views]
    own = check_query(spec.sql, tables=named, parameter_types=duckdb_types(spec.parameters))
    as_view = check_view(spec.sql, (spec.name, spec.version), spec.parameters, named)
    defaults = typed_defaults(spec.parameters)
    for parameter in spec.parameters:
        if parameter.pattern is not None:
            compile_pattern(parameter.pattern)
    parameters = {parameter.name: parameter for parameter in spec.parameters}
    undeclared = sorted(set(own.parameters) - set(parameters))
    if undeclared:
        raise ParameterFault(f"${undeclared[0]} is not declared")
    query = _compose_all(own, views)
    below = {table.name: table for view in views.values() for table in view.tables} | {
        name: tables[name] for name in own.tables if name in tables
    }
    read = tuple(below[name] for name in sorted(below))
    policed_views = _policed_views(views)
    decisions = (*(table.policed for table in read), *(view.policed[-1] for view in policed_views))
    mine = Policed(f"endpoint:{spec.name}", policies, is_protected=False) if policies else None
    policed = (*decisions, mine)
    return CompiledEndpoint(
        spec=spec,
        query=query,
        parameters=parameters,
        defaults=defaults,
        tables=read,
        streams=tuple(table.stream for table in read),
        seed=_seed(spec, read, engine, views),
        policed=policed if any(policed) else (),
        own=own,
        as_view=as_view,
        views=views,
        policed_views=policed_views,
        choices={
            one.name: _compile(_choices_spec(spec, one.name, one.values_from), tables, engine, (), {})
            for one in spec.parameters
            if one.values_from is not None
        },
    )


def _choices_spec(spec: EndpointSpec, parameter: str, sql: str) -> EndpointSpec:
    """Return the endpoint that answers the values a parameter may have: the first ``MAX_CHOICES`` and one more."""
    return EndpointSpec(
        id=f"values:{spec.id}:{parameter}", name=spec.name, revision=spec.revision, sql=sql, tables=(),
        version=spec.version, timeout_seconds=spec.timeout_seconds, max_rows=MAX_CHOICES,
    )  # fmt: skip


def _compose_all(own: CheckedQuery, views: Mapping[str, CompiledEndpoint]) -> CheckedQuery:
    inner = {}
    for name, view in views.items():
        if view.as_view is None:
            raise ParameterFault(f"it reads {name}, and {view.fault.detail if view.fault else 'that has no SQL'}")
        inner[name] = _compose_all(view.as_view, view.views)
    return compose(own, inner)


def _policed_views(views: Mapping[str, CompiledEndpoint]) -> tuple[CompiledEndpoint, ...]:
    """Return the views with policies on their answers, each once, in the order of their labels."""
    found: dict[str, CompiledEndpoint] = {}
    for view in views.values():
        found |= {one.label: one for one in view.policed_views}
        if view.policed and view.policed[-1] is not None:
            found[view.label] = view
    return tuple(found[label] for label in sorted(found))


def _seed(
    spec: EndpointSpec, tables: Sequence[QueryTable], engine: str, views: Mapping[str, CompiledEndpoint]
) -> bytes:
    # By stream, which names the environment: tables of two may look alike and have the same version.
    shown = [[table.stream, table.name, table.schema.to_string()] for table in tables]
    within_it = [[name, view.seed.hex()] for name, view in sorted(views.items())]
    content = [spec.id, spec.revision, spec.sql, spec.max_rows, shown, engine, within_it]
    return hashlib.blake2b(orjson.dumps(content), digest_size=16).digest()
