"""A snapshot as the query service needs it: the tables of the environment, and its endpoints compiled and checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from headwater.core.endpoints import split_label
from headwater.core.policies import PolicySpec
from headwater.core.snapshot import EndpointSpec, Snapshot
from headwater.services.kit.service import Caller
from headwater.services.query.compiling import CompiledEndpoint, compile_endpoint, faulty, rows_spec
from headwater.services.query.rulings import Rulings
from headwater.services.query.shown_tables import Policies, QueryTable, by_resource, shown_tables

__all__ = ["CompiledEndpoint", "CompiledQueries", "QueryTable", "compile_endpoint", "compile_queries", "rows_spec"]


@dataclass(frozen=True, slots=True)
class CompiledQueries:
    """Everything the query service serves in one environment.

    Attributes:
        endpoints: by the labels of the snapshot.
        versions: the versions of each endpoint by its name, newest first.
    """

    environment_id: str
    tables: Mapping[str, QueryTable]
    endpoints: Mapping[str, CompiledEndpoint]
    rulings: Rulings
    engine: str
    versions: Mapping[str, tuple[CompiledEndpoint, ...]] = field(default_factory=dict)
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

    def pieces(self) -> list[object]:
        """Return what it consists of, see ``Divisible``."""
        return [*self.tables.values(), *self.endpoints.values()]

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
    policies = by_resource(snapshot.policies.values())
    tables = shown_tables(snapshot, policies, previous.tables if previous is not None else {})
    endpoints = _Compiler(snapshot, tables, policies, previous, engine).run()
    versions: defaultdict[str, list[CompiledEndpoint]] = defaultdict(list)
    for one in endpoints.values():
        versions[one.spec.name].append(one)
    return CompiledQueries(
        snapshot.environment.id,
        tables,
        endpoints,
        Rulings(snapshot.environment.mask_key),
        engine,
        {
            name: tuple(sorted(listed, key=lambda one: one.spec.version, reverse=True))
            for name, listed in versions.items()
        },
    )


class _Compiler:
    """Compiles the endpoints of a snapshot, those that others read first."""

    def __init__(
        self,
        snapshot: Snapshot,
        tables: Mapping[str, QueryTable],
        policies: Policies,
        previous: CompiledQueries | None,
        engine: str,
    ) -> None:
        self._specs = snapshot.endpoints
        self._tables = tables
        self._policies = policies
        self._kept = previous.endpoints if previous is not None else {}
        self._engine = engine
        self._labels = {(spec.name, spec.version): label for label, spec in snapshot.endpoints.items()}
        self._made: dict[str, CompiledEndpoint] = {}
        self._under_way: set[str] = set()

    def run(self) -> dict[str, CompiledEndpoint]:
        return {label: self._find(label) for label in self._specs}

    def _find(self, label: str) -> CompiledEndpoint:
        made = self._made.get(label)
        if made is None:
            spec = self._specs[label]
            if label in self._under_way:
                return faulty(spec, "endpoints read each other in a circle")
            self._under_way.add(label)
            made = self._made[label] = self._make(label, spec)
            self._under_way.discard(label)
        return made

    def _make(self, label: str, spec: EndpointSpec) -> CompiledEndpoint:
        views: dict[str, CompiledEndpoint] = {}
        for used in spec.uses:
            name, version = split_label(used)
            found = self._labels.get((name, version or 1))
            if found is None:
                return faulty(spec, f"it reads {used}, which is not served")
            views[name] = self._find(found)
        own = self._policies.get(f"endpoint:{spec.name}", ())
        kept = self._kept.get(label)
        if kept is not None and kept.fault is None and kept.spec == spec and self._is_same(kept, views, own):
            return kept
        return compile_endpoint(spec, self._tables, self._engine, own, views)

    def _is_same(
        self, kept: CompiledEndpoint, views: Mapping[str, CompiledEndpoint], own: tuple[PolicySpec, ...]
    ) -> bool:
        before = kept.policed[-1].policies if kept.policed and kept.policed[-1] is not None else ()
        tables = (*kept.tables, *(table for one in kept.choices.values() for table in one.tables))
        return (
            before == own
            and all(kept.views.get(name) is view for name, view in views.items())
            and all(self._tables.get(table.name) == table for table in tables)
        )
