"""A snapshot as the query service needs it: the tables of the environment, and its endpoints compiled and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from headwater.contracts.spec import contract_from_spec
from headwater.contracts.tabulation import accepted_schema
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import DatasetSpec, EndpointSpec, ModelSpec, ParameterSpec, Snapshot
from headwater.core.streams import EXPOSURES, OUTCOMES, batch_log, prediction_log, stream_name
from headwater.engines.flags.exposures import EXPOSURE_SCHEMA
from headwater.engines.lake.protocol import TableState
from headwater.engines.models.batch_schema import batch_schema
from headwater.engines.models.log_schema import OUTCOME_SCHEMA, log_schema
from headwater.engines.query.parameters import ParameterFault, compile_pattern, duckdb_types, typed_defaults
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.tables import SYSTEM_COLUMNS, duckdb_columns, table_source
from headwater.engines.query.walk import CheckedQuery, check_query
from headwater.services.kit.service import Caller

NO_POLICY = "no policy allows rows"


@dataclass(frozen=True, slots=True)
class QueryTable:
    """A table that SQL may name: its stream, what it shows even while empty, and whether its rows are hidden."""

    name: str
    stream: str
    schema: pa.Schema
    hides_rows: bool

    def source(self, state: TableState | None) -> TableSource:
        """Return the table pinned to ``state``."""
        return table_source(self.name, self.schema, state, hides_rows=self.hides_rows)


@dataclass(frozen=True, slots=True)
class CompiledEndpoint:
    """An endpoint ready to be asked; ``fault`` says why it cannot be.

    Attributes:
        query: its checked SQL; None with a fault.
        parameters: by name.
        defaults: typed values of the parameters that have one.
        tables: those it reads, in the order of their names.
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

    @property
    def hidden(self) -> dict[str, str]:
        """Return the tables whose rows are hidden, with what decided."""
        return {table.name: NO_POLICY for table in self.tables if table.hides_rows}

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
    endpoints: dict[str, CompiledEndpoint] = {}
    for name, spec in snapshot.endpoints.items():
        kept = previous.endpoints.get(name) if previous is not None else None
        if kept is not None and kept.fault is None and kept.spec == spec and _same_tables(kept, tables):
            endpoints[name] = kept
        else:
            endpoints[name] = _compile_endpoint(spec, tables, engine)
    return CompiledQueries(environment_id, tables, endpoints)


def _same_tables(endpoint: CompiledEndpoint, tables: Mapping[str, QueryTable]) -> bool:
    return all(tables.get(table.name) == table for table in endpoint.tables)


def _compile_endpoint(spec: EndpointSpec, tables: Mapping[str, QueryTable], engine: str) -> CompiledEndpoint:
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
    return CompiledEndpoint(
        spec=spec,
        query=query,
        parameters=parameters,
        defaults=defaults,
        tables=read,
        streams=tuple(table.stream for table in read),
        seed=_seed(spec, read, engine),
    )


def _faulty(spec: EndpointSpec, detail: str) -> CompiledEndpoint:
    fault = HeadwaterError(
        "sql_rejected", f"the endpoint cannot be served: {detail}", hint="apply a mended endpoint file"
    )
    return CompiledEndpoint(spec, None, {}, {}, (), (), b"", fault)


def _seed(spec: EndpointSpec, tables: Sequence[QueryTable], engine: str) -> bytes:
    shown = [[table.name, table.schema.to_string(), table.hides_rows] for table in tables]
    content = [spec.id, spec.revision, spec.sql, spec.max_rows, shown, engine]
    return hashlib.blake2b(orjson.dumps(content), digest_size=16).digest()


def _dataset_table(environment_id: str, spec: DatasetSpec) -> QueryTable:
    contract = contract_from_spec(spec.contracts[spec.active_version])
    schema = _with_system_columns(accepted_schema(contract))
    return QueryTable(spec.name, stream_name(environment_id, spec.name), schema, spec.protected or contract.protected)


def _log_tables(environment_id: str, spec: ModelSpec) -> list[QueryTable]:
    """Return the prediction log of a model and its batch predictions, with the columns of its newest version."""
    newest = spec.versions[max(spec.versions)]
    fields = contract_from_spec(newest.inputs).fields
    schemas = {
        prediction_log(spec.name): log_schema(fields, newest.outputs),
        batch_log(spec.name): batch_schema(fields, newest.outputs),
    }
    return [
        QueryTable(name, stream_name(environment_id, name), _with_system_columns(schema), hides_rows=False)
        for name, schema in schemas.items()
    ]


def _outcome_table(environment_id: str) -> QueryTable:
    """Return what became of the predictions of all models."""
    return QueryTable(
        OUTCOMES, stream_name(environment_id, OUTCOMES), _with_system_columns(OUTCOME_SCHEMA), hides_rows=False
    )


def _exposure_table(environment_id: str) -> QueryTable:
    """Return who saw which variants of flags."""
    return QueryTable(
        EXPOSURES, stream_name(environment_id, EXPOSURES), _with_system_columns(EXPOSURE_SCHEMA), hides_rows=False
    )


def _with_system_columns(schema: pa.Schema) -> pa.Schema:
    complete = pa.schema([*schema, *(field for field in SYSTEM_COLUMNS if field.name not in schema.names)])
    duckdb_columns(complete)  # worked out now, in a thread, rather than by the first request
    return complete
