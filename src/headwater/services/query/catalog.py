"""A snapshot as the query service needs it: the tables of the environment, and its endpoints compiled and checked."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
import pyarrow as pa

from headwater.contracts.spec import contract_from_spec
from headwater.contracts.tabulation import accepted_schema
from headwater.core.errors import HeadwaterError
from headwater.core.policies import PolicySpec
from headwater.core.snapshot import DatasetSpec, EndpointSpec, ModelSpec, ParameterSpec, Snapshot
from headwater.core.streams import EXPOSURES, OUTCOMES, batch_log, prediction_log, stream_name
from headwater.engines.flags.exposures import EXPOSURE_SCHEMA
from headwater.engines.lake.protocol import TableState
from headwater.engines.models.batch_schema import batch_schema
from headwater.engines.models.log_schema import OUTCOME_SCHEMA, log_schema
from headwater.engines.query.parameters import ParameterFault, compile_pattern, duckdb_types, typed_defaults
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.tables import SYSTEM_COLUMNS, duckdb_columns, table_source
from headwater.engines.query.walk import CheckedQuery, check_query
from headwater.services.kit.service import Caller
from headwater.services.query.rulings import Policed, Ruling, Rulings

MAX_PAGE_ROWS: Final = 10_000
_ROWS_OF: Final = "rows:"


@dataclass(frozen=True, slots=True)
class QueryTable:
    """A table that SQL may name: its stream, what it shows even while empty, and who sees what of it.

    ``is_protected`` says that nothing is shown while no policy matches.
    """

    name: str
    stream: str
    schema: pa.Schema
    is_protected: bool = False
    policies: tuple[PolicySpec, ...] = ()
    key: tuple[str, ...] = ()

    @property
    def policed(self) -> Policed | None:
        """Return what has to be decided before its rows are shown; None: nothing."""
        if not self.is_protected and not self.policies:
            return None
        return Policed(f"dataset:{self.name}", self.policies, self.is_protected, self.schema)

    def source(self, state: TableState | None, ruling: Ruling | None) -> TableSource:
        """Return the table pinned to ``state``, as ``ruling`` shows it."""
        if ruling is None:
            return table_source(self.name, self.schema, state, key=self.key)
        rule, hides_rows = ruling.rule, ruling.hides_rows
        return table_source(self.name, self.schema, state, hides_rows=hides_rows, rule=rule, key=self.key)


@dataclass(frozen=True, slots=True)
class CompiledEndpoint:
    """An endpoint ready to be asked; ``fault`` says why it cannot be.

    Attributes:
        query: its checked SQL; None with a fault.
        parameters: by name.
        defaults: typed values of the parameters that have one.
        tables: those it reads, in the order of their names.
        policed: what has to be decided of each of them, then of its answer; empty when nothing has.
        seed: digest of all that its results depend on beside parameters, table versions and format.
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

    @property
    def kind(self) -> str:
        """Return what ``meta`` calls it: an endpoint, or the dataset whose rows it reads."""
        return "dataset" if self.spec.id.startswith(_ROWS_OF) else "endpoint"

    def is_open_to(self, caller: Caller) -> bool:
        """Return whether ``caller`` may invoke it: by permission and, where it names roles, by role."""
        key = caller.key
        if not key.can("endpoint.invoke", self.spec.name):
            return False
        return not self.spec.roles or bool(set(self.spec.roles).intersection(key.roles))


@dataclass(frozen=True, slots=True)
class CompiledQueries:
    """Everything the query service serves in one environment."""

    environment_id: str
    tables: Mapping[str, QueryTable]
    endpoints: Mapping[str, CompiledEndpoint]
    rulings: Rulings
    engine: str
    readers: dict[str, CompiledEndpoint] = field(default_factory=dict)

    def rows_of(self, table: QueryTable) -> CompiledEndpoint:
        """Return what reads the rows of ``table`` page by page, compiled when first asked for."""
        reader = self.readers.get(table.name)
        if reader is None:
            reader = self.readers[table.name] = compile_endpoint(
                rows_spec(table.name), {table.name: table}, self.engine
            )
        return reader

    def readable_tables(self, caller: Caller) -> list[QueryTable]:
        """Return the tables that ``caller`` may read with SQL of its own."""
        return [table for table in self.tables.values() if caller.key.can("dataset.read", table.name)]

    def faults(self) -> list[str]:
        """Return why endpoints cannot be asked, one sentence each."""
        return [f"endpoint {name}: {one.fault.detail}" for name, one in self.endpoints.items() if one.fault]


def compile_queries(snapshot: Snapshot, previous: CompiledQueries | None, *, engine: str) -> CompiledQueries:
    """Compile a snapshot; endpoints that did not change, nor their tables, are kept.

    Args:
        snapshot: the new snapshot.
        previous: what this returned for the last one.
        engine: name and version of what runs the SQL.
    """
    environment_id = snapshot.environment.id
    tables = {name: _dataset_table(environment_id, spec) for name, spec in snapshot.datasets.items()}
    tables |= {table.name: table for spec in snapshot.models.values() for table in _log_tables(environment_id, spec)}
    if snapshot.models:
        tables[OUTCOMES] = _outcome_table(environment_id)
    if snapshot.flags:
        tables[EXPOSURES] = _exposure_table(environment_id)
    policies = _by_resource(snapshot.policies.values())
    for name, table in tables.items():
        if f"dataset:{name}" in policies:
            tables[name] = replace(table, policies=policies[f"dataset:{name}"])
    endpoints: dict[str, CompiledEndpoint] = {}
    for name, spec in snapshot.endpoints.items():
        kept = previous.endpoints.get(name) if previous is not None else None
        own = policies.get(f"endpoint:{name}", ())
        if kept is not None and kept.fault is None and kept.spec == spec and _same_tables(kept, tables, own):
            endpoints[name] = kept
        else:
            endpoints[name] = compile_endpoint(spec, tables, engine, own)
    return CompiledQueries(environment_id, tables, endpoints, Rulings(snapshot.environment.mask_key), engine)


def _by_resource(policies: Iterable[PolicySpec]) -> dict[str, tuple[PolicySpec, ...]]:
    found: defaultdict[str, list[PolicySpec]] = defaultdict(list)
    for policy in sorted(policies, key=lambda one: one.priority):
        found[policy.resource].append(policy)
    return {resource: tuple(listed) for resource, listed in found.items()}


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


def _same_tables(endpoint: CompiledEndpoint, tables: Mapping[str, QueryTable], own: tuple[PolicySpec, ...]) -> bool:
    before = endpoint.policed[-1].policies if endpoint.policed and endpoint.policed[-1] is not None else ()
    return before == own and all(tables.get(table.name) == table for table in endpoint.tables)


def compile_endpoint(
    spec: EndpointSpec, tables: Mapping[str, QueryTable], engine: str, policies: tuple[PolicySpec, ...] = ()
) -> CompiledEndpoint:
    """Return an endpoint ready to be asked, or with the fault that keeps it from that."""
    parameters = {parameter.name: parameter for parameter in spec.parameters}
    try:
        query = check_query(spec.sql, tables=tables.keys(), parameter_types=duckdb_types(spec.parameters))
        defaults = typed_defaults(spec.parameters)
        for parameter in spec.parameters:
            if parameter.pattern is not None:
                compile_pattern(parameter.pattern)
        undeclared = sorted(set(query.parameters) - set(parameters))
    except (HeadwaterError, ParameterFault) as error:
        return _faulty(spec, error.detail if isinstance(error, HeadwaterError) else str(error))
    if undeclared:
        return _faulty(spec, f"${undeclared[0]} is not declared")
    read = tuple(tables[name] for name in query.tables)
    own = Policed(f"endpoint:{spec.name}", policies, is_protected=False) if policies else None
    policed = (*(table.policed for table in read), own)
    return CompiledEndpoint(
        spec=spec,
        query=query,
        parameters=parameters,
        defaults=defaults,
        tables=read,
        streams=tuple(table.stream for table in read),
        seed=_seed(spec, read, engine),
        policed=policed if any(policed) else (),
    )


def _faulty(spec: EndpointSpec, detail: str) -> CompiledEndpoint:
    fault = HeadwaterError(
        "sql_rejected", f"the endpoint cannot be served: {detail}", hint="apply a mended endpoint file"
    )
    return CompiledEndpoint(spec, None, {}, {}, (), (), b"", fault)


def _seed(spec: EndpointSpec, tables: Sequence[QueryTable], engine: str) -> bytes:
    shown = [[table.name, table.schema.to_string()] for table in tables]
    content = [spec.id, spec.revision, spec.sql, spec.max_rows, shown, engine]
    return hashlib.blake2b(orjson.dumps(content), digest_size=16).digest()


def _dataset_table(environment_id: str, spec: DatasetSpec) -> QueryTable:
    contract = contract_from_spec(spec.contracts[spec.active_version])
    schema = _with_system_columns(accepted_schema(contract))
    is_protected = spec.protected or contract.protected
    key = contract.dedup.key if contract.dedup is not None else ()
    return QueryTable(spec.name, stream_name(environment_id, spec.name), schema, is_protected, key=tuple(key))


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


def _with_system_columns(schema: pa.Schema) -> pa.Schema:
    complete = pa.schema([*schema, *(field for field in SYSTEM_COLUMNS if field.name not in schema.names)])
    duckdb_columns(complete)  # worked out now, in a thread, rather than by the first request
    return complete
