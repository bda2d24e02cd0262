"""The tables that SQL may name in an environment: datasets, logs of predictions, outcomes and exposures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import pyarrow as pa

from headwater.contracts.spec import contract_from_spec
from headwater.contracts.tabulation import accepted_schema
from headwater.core.policies import PolicySpec
from headwater.core.snapshot import DatasetSpec, ModelSpec, Snapshot
from headwater.core.streams import EXPOSURES, OUTCOMES, QUERY_LOG, batch_log, prediction_log, stream_name
from headwater.engines.flags.exposures import EXPOSURE_SCHEMA
from headwater.engines.lake.protocol import TableState
from headwater.engines.models.batch_schema import batch_schema
from headwater.engines.models.log_schema import OUTCOME_SCHEMA, log_schema
from headwater.engines.query.log_schema import QUERY_LOG_SCHEMA
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.tables import SYSTEM_COLUMNS, duckdb_columns, table_source
from headwater.services.query.rulings import Policed, Ruling

Policies = Mapping[str, tuple[PolicySpec, ...]]
"""By resource, in the order of their priorities."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a table was for a state and a ruling."""

    state: TableState | None
    ruling: Ruling | None
    source: TableSource


@dataclass(frozen=True, slots=True)
class QueryTable:
    """A table that SQL may name: its stream, what it shows even while empty, and who sees what of it.

    ``is_protected`` says that nothing is shown while no policy matches. ``spec`` is the dataset it was made from.
    """

    name: str
    stream: str
    schema: pa.Schema
    is_protected: bool = False
    policies: tuple[PolicySpec, ...] = ()
    key: tuple[str, ...] = ()
    spec: DatasetSpec | None = field(default=None, compare=False)
    _last: list[_Shown] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def policed(self) -> Policed | None:
        """Return what has to be decided before its rows are shown; None: nothing."""
        if not self.is_protected and not self.policies:
            return None
        return Policed(f"dataset:{self.name}", self.policies, self.is_protected, self.schema)

    def source(self, state: TableState | None, ruling: Ruling | None) -> TableSource:
        """Return the table pinned to ``state``, as ``ruling`` shows it: mostly the one that was asked for last."""
        for shown in self._last:
            if shown.state is state and shown.ruling is ruling:
                return shown.source
        rule, hides_rows = (None, False) if ruling is None else (ruling.rule, ruling.hides_rows)
        source = table_source(self.name, self.schema, state, hides_rows=hides_rows, rule=rule, key=self.key)
        self._last[:] = [_Shown(state, ruling, source)]
        return source


def shown_tables(
    snapshot: Snapshot, policies: Policies, before: Mapping[str, QueryTable] = MappingProxyType({})
) -> dict[str, QueryTable]:
    """Return the tables of a snapshot by name, each with its policies.

    ``before`` are those of the last snapshot: of a dataset that did not change the table is kept.
    """
    environment_id = snapshot.environment.id
    tables = {
        name: _kept(before.get(name), spec) or _dataset_table(environment_id, spec)
        for name, spec in snapshot.datasets.items()
    }
    tables |= {table.name: table for spec in snapshot.models.values() for table in _log_tables(environment_id, spec)}
    if snapshot.models:
        tables[OUTCOMES] = _outcome_table(environment_id)
    tables.setdefault(QUERY_LOG, query_log_table(environment_id))  # an older project may have one of its own
    if snapshot.flags:
        tables[EXPOSURES] = _exposure_table(environment_id)
    for name, table in tables.items():
        if f"dataset:{name}" in policies:
            tables[name] = replace(table, policies=policies[f"dataset:{name}"])
    return tables


def _kept(table: QueryTable | None, spec: DatasetSpec) -> QueryTable | None:
    """Return the table of the last snapshot without its policies, if it was made from this very spec."""
    if table is None or table.spec is not spec:
        return None
    return replace(table, policies=()) if table.policies else table


def by_resource(policies: Iterable[PolicySpec]) -> Policies:
    """Return the policies by what they are about."""
    found: defaultdict[str, list[PolicySpec]] = defaultdict(list)
    for policy in sorted(policies, key=lambda one: one.priority):
        found[policy.resource].append(policy)
    return {resource: tuple(listed) for resource, listed in found.items()}


def _dataset_table(environment_id: str, spec: DatasetSpec) -> QueryTable:
    contract = contract_from_spec(spec.contracts[spec.active_version])
    schema = _with_system_columns(accepted_schema(contract))
    is_protected = spec.protected or contract.protected
    key = contract.dedup.key if contract.dedup is not None else ()
    return QueryTable(
        spec.name, stream_name(environment_id, spec.name), schema, is_protected, key=tuple(key), spec=spec
    )


def _log_tables(environment_id: str, spec: ModelSpec) -> list[QueryTable]:
    """Return the prediction log of a model and its batch predictions, with the columns of its newest version."""
    newest = spec.versions[max(spec.versions)]
    fields = contract_from_spec(newest.inputs).fields
    schemas = {
        prediction_log(spec.name): log_schema(fields, newest.outputs),
        batch_log(spec.name): batch_schema(fields, newest.outputs),
    }
    return [
        QueryTable(name, stream_name(environment_id, name), _with_system_columns(schema))
        for name, schema in schemas.items()
    ]


def _outcome_table(environment_id: str) -> QueryTable:
    """Return what became of the predictions of all models."""
    return QueryTable(OUTCOMES, stream_name(environment_id, OUTCOMES), _with_system_columns(OUTCOME_SCHEMA))


def _exposure_table(environment_id: str) -> QueryTable:
    """Return who saw which variants of flags."""
    return QueryTable(EXPOSURES, stream_name(environment_id, EXPOSURES), _with_system_columns(EXPOSURE_SCHEMA))


def query_log_table(environment_id: str) -> QueryTable:
    """Return who asked what."""
    return QueryTable(QUERY_LOG, stream_name(environment_id, QUERY_LOG), _with_system_columns(QUERY_LOG_SCHEMA))


def _with_system_columns(schema: pa.Schema) -> pa.Schema:
    complete = pa.schema([*schema, *(field for field in SYSTEM_COLUMNS if field.name not in schema.names)])
    duckdb_columns(complete)  # worked out now, in a thread, rather than by the first request
    return complete
