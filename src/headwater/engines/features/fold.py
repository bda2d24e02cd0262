"""Adding rows up: what many rows of a dataset mean for each entity, by DuckDB, ready to be merged into what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.entry import Entity, Row, Steps
from headwater.engines.features.layout import TEXT, Accumulator, Group, Layout, Source
from headwater.engines.features.windows import ERA_US

SEQ: Final = "_hw_seq"
#: Orders rows by event time, then sequence number, in one number of 128 bits.
NEWNESS: Final = "CAST(t AS HUGEINT) * 18446744073709551616 + s"
_SQL_TYPES: Final = {"integer": "BIGINT", "boolean": "BOOLEAN", "string": "VARCHAR", TEXT: "VARCHAR"}

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


@dataclass(slots=True)
class Folded:
    """What rows mean for each entity, column by column: entity ``i`` has the ``i``-th of every list.

    Attributes:
        keys: encoded keys.
        heads: the highest event time and sequence number of each entity's rows.
        newest: event time and sequence number of the newest visible row; None and None where there is none.
        columns: the layout's columns of that row.
        steps: by group, the steps and their accumulators of all entities, and where each entity's begin.
        pending: rows that are not visible yet, by entity.
    """

    keys: list[bytes]
    heads: list[tuple[int, int]]
    newest: list[tuple[int | None, int | None]]
    columns: list[tuple[Any, ...]]
    steps: list[tuple[list[int], list[list[Any]], list[int]]]
    pending: dict[int, list[Row]]

    def entity(self, layout: Layout, index: int) -> Entity:
        """Return one entity's state."""
        entity = Entity(layout, fresh=False)
        entity.last_event, entity.last_seq = self.heads[index]
        event, seq = self.newest[index]
        entity.event, entity.seq = event, seq or 0
        entity.columns = list(self.columns[index])
        entity.groups = [
            Steps(starts[bounds[index] : bounds[index + 1]], [one[bounds[index] : bounds[index + 1]] for one in kept])
            for starts, kept, bounds in self.steps
        ]
        entity.pending = self.pending.get(index, [])
        return entity


class Folder:
    """Adds up rows of one view. ``connection`` has them as a table, a view or a registered Arrow table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, view: FeatureViewSpec, layout: Layout) -> None:
        """Work on ``connection``, from one thread."""
        self._connection = connection
        self._view = view
        self._layout = layout
        self._key_names = [f"k{index}" for index in range(len(view.entities))]
        self._keys = ", ".join(self._key_names)
        self._values = [f"v{index}" for index in range(len(layout.sources))]

    def fold(self, rows: str, now_us: int, scope: Scope = ALL, *, seen: pa.Table | None = None) -> Folded:
        """Return what the rows mean for each entity.

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
        run = self._connection.execute
        try:
            run(f"CREATE OR REPLACE TEMP TABLE base AS {base}")
            # From here on entities are numbers: those group and sort faster than keys.
            run(
                f"CREATE OR REPLACE TEMP TABLE entities AS SELECT {self._keys}, row_number() OVER () - 1 AS e "  # noqa: S608
                f"FROM (SELECT DISTINCT {self._keys} FROM base)"
            )
            listed = ", ".join(["t", "s", *self._values])
            joined = f"SELECT e, {listed} FROM base JOIN entities USING ({self._keys})"  # noqa: S608
            run(f"CREATE OR REPLACE TEMP TABLE rows_of AS {joined}")
            return self._folded(now_us - self._layout.delay_us)
        finally:
            for name in ("base", "entities", "rows_of"):
                run(f"DROP TABLE IF EXISTS {name}")
            if seen is not None:
                self._connection.unregister("seen")

    def _folded(self, visible: int) -> Folded:
        keys = self._lists(f"SELECT {self._keys} FROM entities ORDER BY e")  # noqa: S608 - our names
        count = len(keys[0])
        shown = ["t", "s", *(f"v{self._layout.sources.index(source)}" for source in self._layout.columns)]
        newest = ", ".join(f"arg_max_null({name}, {NEWNESS}) FILTER (t <= {visible})" for name in shown)
        lists = self._lists(f"SELECT max(t), max(s), {newest} FROM rows_of GROUP BY e ORDER BY e")  # noqa: S608
        return Folded(
            keys=[encode_key(key) for key in zip(*keys, strict=True)],
            heads=list(zip(lists[0], lists[1], strict=True)),
            newest=list(zip(lists[2], lists[3], strict=True)),
            columns=list(zip(*lists[4:], strict=True)) if len(lists) > 4 else [()] * count,  # noqa: PLR2004 - behind those
            steps=[self._steps(group, visible, count) for group in self._layout.groups],
            pending=self._pending(visible),
        )

    def _steps(self, group: Group, visible: int, count: int) -> tuple[list[int], list[list[Any]], list[int]]:
        first = (visible - group.window_us) // group.step_us * group.step_us
        accumulated = [self._accumulated(item) for item in group.accumulators]
        query = (
            f"SELECT e, {step_number(group.step_us)} AS step, {', '.join(sum(accumulated, []))} FROM rows_of "  # noqa: RUF017, S608
            f"WHERE t BETWEEN {first} AND {visible} GROUP BY e, step ORDER BY e, step"
        )
        owners, starts, *parts = self._lists(query)
        bounds: list[int] = np.searchsorted(np.asarray(owners, np.int64), np.arange(count + 1)).tolist()
        kept: list[list[Any]] = []
        for item, columns in zip(group.accumulators, accumulated, strict=True):
            mine, parts = parts[: len(columns)], parts[len(columns) :]
            kept.append(_MAKERS[item.kind](*mine) if item.kind in _MAKERS else mine[0])
        return starts, kept, bounds

    def _pending(self, visible: int) -> dict[int, list[Row]]:
        listed = ", ".join(["t", "s", *self._values])
        found: dict[int, list[Row]] = {}
        lists = self._lists(f"SELECT e, {listed} FROM rows_of WHERE t > {visible}")  # noqa: S608
        for owner, *row in zip(*lists, strict=True):
            found.setdefault(owner, []).append(row)
        return found

    def _accumulated(self, item: Accumulator) -> list[str]:
        """Return the SQL of an accumulator, in one or more columns."""
        if item.source is None:
            return ["count(*)"]
        value = f"v{self._layout.sources.index(item.source)}"
        match item.kind:
            case "last":
                known = f"FILTER ({value} IS NOT NULL)"
                return [f"arg_max({name}, {NEWNESS}) {known}" for name in ("t", "s", value)]
            case "distinct":
                return [f"list_sort(list(DISTINCT {value}) FILTER ({value} IS NOT NULL))"]
            case "sum":
                # Beyond 64 bits it goes on as a float, which shows as no value where a whole number is wanted.
                return (
                    [f"TRY_CAST(sum({value}) AS BIGINT)", f"CAST(sum({value}) AS DOUBLE)"]
                    if item.source.type == "integer"
                    else [f"sum({value})"]
                )
            case _:
                return [f"{item.kind}({value})"]

    def _lists(self, query: str) -> list[list[Any]]:
        """Return a result's columns as lists."""
        table = self._connection.execute(query).to_arrow_table()
        return [_values(column) for column in table.columns]


def _values(column: pa.ChunkedArray) -> list[Any]:
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if is_number and column.null_count == 0:
        values: list[Any] = column.to_numpy().tolist()
    else:
        values = column.to_pylist()
    return values


def _last(events: list[Any], seqs: list[Any], values: list[Any]) -> list[Any]:
    rows = zip(events, seqs, values, strict=True)
    return [None if event is None else [event, seq, value] for event, seq, value in rows]


def _sums(totals: list[Any], floats: list[Any] | None = None) -> list[Any]:
    if floats is None:
        return totals
    return [other if total is None else total for total, other in zip(totals, floats, strict=True)]


_MAKERS: Final[dict[str, Callable[..., list[Any]]]] = {
    "last": _last,
    "sum": _sums,
    "distinct": lambda lists: [values or [] for values in lists],
}
