"""Adding rows up: what many rows of a dataset mean for each entity, by DuckDB, ready to be merged into what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import msgspec
import pyarrow as pa

from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.entry import Entity
from headwater.engines.features.layout import TEXT, Accumulator, Group, Layout, Source
from headwater.engines.features.windows import ERA_US

SEQ: Final = "_hw_seq"
#: Orders rows by event time, then sequence number, in one number of 128 bits.
NEWNESS: Final = "CAST(t AS HUGEINT) * 18446744073709551616 + s"
_SQL_TYPES: Final = {"integer": "BIGINT", "boolean": "BOOLEAN", "string": "VARCHAR", TEXT: "VARCHAR"}
_MAX_INTEGER: Final = (1 << 63) - 1

encode_key: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows are added up: all, or those of one part of the entities and within these bounds.

    ``after_seq`` and ``through_seq`` bound sequence numbers, ``from_us`` and ``to_us`` (exclusive) event times.
    ``part`` of ``parts`` takes the entities whose hash falls into it.
    """

    after_seq: int | None = None
    through_seq: int | None = None
    from_us: int | None = None
    to_us: int | None = None
    part: int = 0
    parts: int = 1


ALL: Final = Scope()


def quote(name: str) -> str:
    """Return a column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def key_columns(view: FeatureViewSpec) -> list[str]:
    """Return the SQL of an entity's key, in the types that requests have."""
    types = view.entity_types if len(view.entity_types) == len(view.entities) else ("string",) * len(view.entities)
    return [
        f"CAST({quote(name)} AS {_SQL_TYPES.get(logical, 'VARCHAR')})"
        for name, logical in zip(view.entities, types, strict=True)
    ]


def value_column(source: Source) -> str:
    """Return the SQL of a column's values; a number that is not finite is no value."""
    column = quote(source.column)
    if source.type == "number":
        number = f"TRY_CAST({column} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"
    return f"TRY_CAST({column} AS {_SQL_TYPES[source.type]})"


def step_number(step_us: int) -> str:
    """Return the SQL of the step that an event falls into, counted from 1970 on, down below zero before it."""
    return f"((t + {ERA_US}) // {step_us} - {ERA_US // step_us})"


def base_query(
    view: FeatureViewSpec, layout: Layout, rows: str, scope: Scope = ALL, *, extra: str | None = None
) -> str:
    """Return the SELECT of a view's rows: ``k0…`` the key, ``t`` and ``s`` when and which, ``v0…`` the sources.

    ``extra`` is one more column.
    """
    keys = key_columns(view)
    columns = [f"{key} AS k{index}" for index, key in enumerate(keys)]
    columns += [f"epoch_us({quote(view.event_time)}) AS t", f"{quote(SEQ)} AS s"]
    columns += [f"{value_column(source)} AS v{index}" for index, source in enumerate(layout.sources)]
    columns += [extra] if extra is not None else []
    bounds = [f"k{index} IS NOT NULL" for index in range(len(keys))] + ["t IS NOT NULL"]
    limits = (
        ("s >", scope.after_seq),
        ("s <=", scope.through_seq),
        ("t >=", scope.from_us),
        ("t <", scope.to_us),
    )
    bounds += [f"{what} {limit}" for what, limit in limits if limit is not None]
    if scope.parts > 1:
        names = ", ".join(f"k{index}" for index in range(len(keys)))
        bounds.append(f"hash({names}) % {scope.parts} = {scope.part}")
    # The limits on the sequence number go down to the files' statistics only by the column's own name.
    inner = [f"{quote(SEQ)} {what[2:]} {limit}" for what, limit in limits[:2] if limit is not None]
    where = f" WHERE {' AND '.join(inner)}" if inner else ""
    return f"SELECT * FROM (SELECT {', '.join(columns)} FROM {rows}{where}) WHERE {' AND '.join(bounds)}"  # noqa: S608 - names are quoted


class Folder:
    """Adds up rows of one view. ``connection`` has them as a table, a view or a registered Arrow table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, view: FeatureViewSpec, layout: Layout) -> None:
        """Work on ``connection``, from one thread."""
        self._connection = connection
        self._view = view
        self._layout = layout
        self._keys = ", ".join(f"k{index}" for index in range(len(view.entities)))
        self._width = len(view.entities)

    def fold(self, rows: str, now_us: int, scope: Scope = ALL, *, seen: pa.Table | None = None) -> dict[bytes, Entity]:
        """Return what the rows mean for each entity, by encoded key.

        Args:
            rows: the table's name in SQL.
            now_us: the instant of writing: rows that are not visible at it are kept apart.
            scope: which of the rows.
            seen: columns ``k0…`` and ``seen``: rows of these entities up to that sequence number are left out.
        """
        base = base_query(self._view, self._layout, rows, scope)
        if seen is not None:
            self._connection.register("seen", seen)
            base = f"SELECT b.* FROM ({base}) b LEFT JOIN seen USING ({self._keys}) WHERE s > coalesce(seen, 0)"  # noqa: S608
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE base AS {base}")
        try:
            visible = now_us - self._layout.delay_us
            entities = self._entities(visible)
            for number, group in enumerate(self._layout.groups):
                self._add_steps(entities, number, group, visible)
        finally:
            self._connection.execute("DROP TABLE base")
            if seen is not None:
                self._connection.unregister("seen")
        return entities

    def _entities(self, visible: int) -> dict[bytes, Entity]:
        layout, width = self._layout, self._width
        every = [f"v{index}" for index in range(len(layout.sources))]
        shown = [f"v{layout.sources.index(source)}" for source in layout.columns]
        # arg_max passes over nulls, so the columns travel in a row, which is not null itself.
        newest = f"arg_max(row({', '.join(['t', 's', *shown])}), {NEWNESS}) FILTER (t <= {visible})"
        pending = f"list(row({', '.join(['t', 's', *every])})) FILTER (t > {visible})"
        query = f"SELECT {self._keys}, max(t), max(s), {newest}, {pending} FROM base GROUP BY {self._keys}"  # noqa: S608
        entities: dict[bytes, Entity] = {}
        for row in _stream(self._connection, query):
            entity = Entity(layout)
            entity.last_event, entity.last_seq, visible_row, waiting = row[width : width + 4]
            if visible_row is not None:
                entity.event, entity.seq, *entity.columns = visible_row
            entity.pending = waiting or []
            entities[encode_key(row[:width])] = entity
        return entities

    def _add_steps(self, entities: dict[bytes, Entity], number: int, group: Group, visible: int) -> None:
        """Add a group's steps, which come ordered by entity and step."""
        first = (visible - group.window_us) // group.step_us * group.step_us
        kept = ", ".join(self._accumulated(item) for item in group.accumulators)
        query = (
            f"SELECT {self._keys}, {step_number(group.step_us)} AS step, {kept} FROM base "  # noqa: S608 - numbers and our names
            f"WHERE t BETWEEN {first} AND {visible} GROUP BY {self._keys}, step ORDER BY {self._keys}, step"
        )
        width = self._width
        makers = [_MAKERS.get(item.kind) for item in group.accumulators]
        key: Sequence[Any] | None = None
        steps = None
        for row in _stream(self._connection, query):
            if steps is None or row[:width] != key:
                key = row[:width]
                steps = entities[encode_key(key)].groups[number]
            steps.starts.append(row[width])
            for kept_list, make, value in zip(steps.kept, makers, row[width + 1 :], strict=True):
                kept_list.append(value if make is None else make(value))

    def _accumulated(self, item: Accumulator) -> str:
        if item.source is None:
            return "count(*)"
        value = f"v{self._layout.sources.index(item.source)}"
        match item.kind:
            case "last":
                return f"arg_max(row(t, s, {value}), {NEWNESS}) FILTER ({value} IS NOT NULL)"
            case "distinct":
                return f"list_sort(list(DISTINCT {value}) FILTER ({value} IS NOT NULL))"
            case _:
                return f"{item.kind}({value})"


def _stream(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[Sequence[Any]]:
    cursor = connection.execute(query)
    while rows := cursor.fetchmany(20_000):
        yield from rows


def _whole(total: Any) -> Any:
    return float(total) if isinstance(total, int) and abs(total) > _MAX_INTEGER else total


def _listed(values: Any) -> list[Any]:
    return list(values) if values is not None else []


_MAKERS: Final = {"sum": _whole, "last": lambda value: None if value is None else list(value), "distinct": _listed}
