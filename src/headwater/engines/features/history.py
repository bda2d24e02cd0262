"""Training frames: for each label, the features its entity had at the label's time, and nothing that came later.

A row of the dataset counts for a label when its event time is not later than the label's time less the view's delay
and, where the view is ``as_received``, when it had been received by the label's time. The arithmetic is that of the
online state (``entry``), so what a model is trained on is what it will be served.

Labels and rows are worked on in parts, by hash of the entity, so that memory is bounded whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.expressions import expression_features
from headwater.engines.features.fold import NEWNESS, Scope, base_query, key_columns, quote
from headwater.engines.features.layout import Fold, Layout, layout_of
from headwater.engines.features.windows import ERA_US, SECOND

PART_ROWS: Final = 2_500_000  # labels and rows that are worked on at a time
_COARSE: Final = 8  # a window is at most this many coarse steps when labels are matched with rows one by one
_STRIDE_US: Final = 600 * SECOND
_LONG_STRIDE_US: Final = 86_400 * SECOND
_LONG_LAG_US: Final = 6 * 3_600 * SECOND
_SQL_TYPES: Final = {"number": "DOUBLE", "integer": "BIGINT", "string": "VARCHAR", "boolean": "BOOLEAN"}
_RECEIVED: Final = "_hw_received_at"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is joined, as SQL of the connection knows it: labels, and the rows of the view's dataset.

    Attributes:
        labels: a table with the entity's columns, the time column, and whatever else goes through.
        time: the labels' time column.
        rows: the dataset's rows with the lake's system columns.
        row_count: how many these are, at least roughly.
    """

    labels: str
    time: str
    rows: str
    row_count: int


class History:
    """Joins labels with one view, on a connection of its own that nobody else uses meanwhile."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, view: FeatureViewSpec) -> None:
        """Prepare; raises ``project_invalid`` when an expression of the view does not compile."""
        self._connection = connection
        self._view = view
        self._layout: Layout = layout_of(view)
        self._expressions = expression_features(view)
        self._keys = [f"k{index}" for index in range(len(view.entities))]
        self._freshness_us = None if view.freshness_seconds is None else view.freshness_seconds * SECOND
        self._shows_newest = bool(self._layout.columns) or self._freshness_us is not None

    def join(self, sources: Sources, *, batch_rows: int = 50_000) -> Iterator[pa.RecordBatch]:
        """Yield the labels in their order with the view's features behind their own columns.

        Raises:
            HeadwaterError: ``invalid_parameter`` when the labels lack a column or have one twice.
        """
        run = self._connection.execute
        passed = self._check_columns(sources)
        run(f"CREATE OR REPLACE TEMP TABLE labels AS {self._labels_query(sources)}")
        try:
            count = run("SELECT count(*) FROM labels").fetchall()[0][0]
            parts = 1 + (count + sources.row_count) // PART_ROWS
            run("DROP TABLE IF EXISTS found")
            for part in range(parts):
                self._join_part(sources, Scope(part=part, parts=parts), is_first=part == 0)
            yield from run(self._frame_query(sources, passed)).to_arrow_reader(batch_rows)
        finally:
            for name in ("labels", "found", "part_labels", "part_rows", "waiting"):
                run(f"DROP TABLE IF EXISTS {name}")

    def _check_columns(self, sources: Sources) -> list[str]:
        """Return the labels' own columns."""
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {sources.labels}").fetchall()  # noqa: S608 - a name of ours
        names = [row[0] for row in described]
        wanted = [*self._view.entities, sources.time]
        for name in wanted:
            if name not in names:
                raise HeadwaterError(
                    "invalid_parameter",
                    f"the labels have no column {name!r}",
                    hint=f"send {', '.join(wanted)} and whatever else shall go through",
                )
        features = {feature.name for feature in self._view.features}
        clash = next((name for name in names if name in features or name.startswith("_hw_label")), None)
        if clash is not None:
            raise HeadwaterError(
                "invalid_parameter", f"the labels have a column {clash!r} themselves", hint="name it differently"
            )
        return names

    def _labels_query(self, sources: Sources) -> str:
        keys = ", ".join(f"{sql} AS {name}" for name, sql in zip(self._keys, key_columns(self._view), strict=True))
        return (
            f"SELECT row_number() OVER () AS _hw_label, epoch_us({quote(sources.time)}) AS _hw_label_at, {keys}, "  # noqa: S608
            f"COLUMNS(*) AS 'own_\\0' FROM {sources.labels}"
        )

    def _join_part(self, sources: Sources, scope: Scope, *, is_first: bool) -> None:
        """Find the stored features of one part of the entities' labels."""
        run, layout = self._connection.execute, self._layout
        keys = ", ".join(self._keys)
        mine = f"hash({keys}) % {scope.parts} = {scope.part} AND " if scope.parts > 1 else ""
        run(
            f"CREATE OR REPLACE TEMP TABLE part_labels AS SELECT _hw_label AS i, _hw_label_at AS l, "  # noqa: S608
            f"l - {layout.delay_us} AS a, {keys} FROM labels WHERE {mine} l IS NOT NULL AND k0 IS NOT NULL"
        )
        received = f"epoch_us({quote(_RECEIVED)}) AS r" if self._view.as_received else "NULL AS r"
        rows = base_query(self._view, layout, sources.rows, scope, extra=received)
        run(f"CREATE OR REPLACE TEMP TABLE part_rows AS {rows}")
        queries = [self._newest_query()] if self._shows_newest else []
        queries += [self._all_windows()] if layout.folds else []
        joined = f"SELECT * FROM (SELECT i FROM part_labels) {' '.join(f'LEFT JOIN ({q}) USING (i)' for q in queries)}"  # noqa: S608
        run(f"CREATE TEMP TABLE found AS {joined}" if is_first else f"INSERT INTO found {joined}")

    def _newest_query(self) -> str:
        """Return the newest visible row of each label: its event time ``e`` and its columns ``c0…``."""
        places = [self._layout.sources.index(source) for source in self._layout.columns]
        columns = "".join(f", v{place} AS c{index}" for index, place in enumerate(places))
        keys = ", ".join(self._keys)
        if not self._view.as_received:
            rows = f"SELECT *, {NEWNESS} AS n FROM part_rows"  # noqa: S608
            # Rows of one instant are told apart by their sequence number: any of them is before the label's highest.
            bound = "CAST(l.a AS HUGEINT) * 18446744073709551616 + 18446744073709551615 >= r.n"
        else:
            delay = self._layout.delay_us
            # A row is visible from u on. One that is older than what is visible by then never shows.
            rows = (
                f"SELECT *, CAST(u AS HUGEINT) * 18446744073709551616 + s AS n FROM "  # noqa: S608
                f"(SELECT *, greatest(t + {delay}, r) AS u FROM part_rows) QUALIFY {NEWNESS} = "
                f"max({NEWNESS}) OVER (PARTITION BY {keys} ORDER BY u, s ROWS UNBOUNDED PRECEDING)"
            )
            bound = "CAST(l.l AS HUGEINT) * 18446744073709551616 + 18446744073709551615 >= r.n"
        equal = " AND ".join(f"l.{key} = r.{key}" for key in self._keys)
        return f"SELECT i, t AS e{columns} FROM part_labels l ASOF JOIN ({rows}) r ON {equal} AND {bound}"  # noqa: S608

    def _all_windows(self) -> str:
        """Return the aggregates ``w0…`` of each label.

        A label for which nothing was on its way, as is the rule, has what its windows hold. Only the others, of an
        ``as_received`` view, are matched with rows one by one.
        """
        if not self._view.as_received:
            return self._windows()
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE waiting AS SELECT * FROM part_labels WHERE i IN ({self._waiting_query()})"  # noqa: S608
        )
        return f"SELECT * FROM ({self._windows()}) WHERE i NOT IN (SELECT i FROM waiting) UNION ALL {self._windows_received()}"  # noqa: E501, S608

    def _waiting_query(self) -> str:
        """Return the labels at whose time a row had happened (and its delay passed) that was received only later."""
        keys, delay = ", ".join(self._keys), self._layout.delay_us
        equal = " AND ".join(f"l.{key} = r.{key}" for key in self._keys)
        queries = []
        # A row is on its way for a stretch of time, which is looked up by the strides that it touches.
        for stride, lag in ((_STRIDE_US, f"<= {_LONG_LAG_US}"), (_LONG_STRIDE_US, f"> {_LONG_LAG_US}")):
            late = f"SELECT {keys}, t + {delay} AS due, r FROM part_rows WHERE r > due AND r - due {lag}"  # noqa: S608
            strides = f"unnest(range((due + {ERA_US}) // {stride}, (r - 1 + {ERA_US}) // {stride} + 1)) AS b"
            queries.append(
                f"SELECT l.i FROM (SELECT i, l, {keys}, (l + {ERA_US}) // {stride} AS b FROM part_labels) l "  # noqa: S608
                f"JOIN (SELECT {keys}, due, r, {strides} FROM ({late})) r ON {equal} AND l.b = r.b "
                "AND r.due <= l.l AND r.r > l.l"
            )
        return " UNION ALL ".join(queries)

    def _windows(self) -> str:
        """Return the aggregates ``w0…`` of each label, by windows over labels and rows together in order of time."""
        keys = ", ".join(self._keys)
        values = [f"v{index}" for index in range(len(self._layout.sources))]
        nulls = "".join(f", NULL AS {value}" for value in values)
        both = (
            f"SELECT {keys}, t AS x, 0 AS kind, NULL AS i, s{''.join(f', {value}' for value in values)} FROM part_rows "  # noqa: S608
            f"UNION ALL SELECT {keys}, a, 1, i, NULL{nulls} FROM part_labels"
        )
        frames, shown = [], []
        for index, fold in enumerate(self._layout.folds):
            # Only labels need their window; of a row it is the row itself.
            start = f"CASE kind WHEN 1 THEN x - {self._start(fold, 'x')} ELSE 0 END"
            frames.append(
                f"f{index} AS (PARTITION BY {keys} ORDER BY x RANGE BETWEEN ({start}) PRECEDING AND CURRENT ROW)"
            )
            aggregate = self._aggregate(fold, newness="CAST(x AS HUGEINT) * 18446744073709551616 + s")
            shown.append(self._typed(fold, aggregate.format(over=f" OVER f{index}")) + f" AS w{index}")
        every = f"SELECT i, kind, {', '.join(shown)} FROM ({both}) WINDOW {', '.join(frames)}"  # noqa: S608
        return f"SELECT * EXCLUDE (kind) FROM ({every}) WHERE kind = 1"  # noqa: S608

    def _windows_received(self) -> str:
        """Return the aggregates of each waiting label over the rows of its window that had been received by then."""
        queries = []
        for index, fold in enumerate(self._layout.folds):
            step = self._layout.groups[fold.group].step_us
            coarse = max(step, fold.window_us // _COARSE)
            keys = ", ".join(self._keys)
            equal = " AND ".join(f"p.{key} = r.{key}" for key in self._keys)
            labels = (
                f"SELECT i, l, a, {keys}, {self._start(fold, 'a')} AS first, "  # noqa: S608
                f"unnest(range((first + {ERA_US}) // {coarse}, (a + {ERA_US}) // {coarse} + 1)) AS b FROM waiting"
            )
            rows = f"SELECT *, (t + {ERA_US}) // {coarse} AS b FROM part_rows"  # noqa: S608
            aggregate = self._typed(fold, self._aggregate(fold, newness=NEWNESS).format(over=""))
            queries.append(
                f"SELECT i, {aggregate} AS w{index} FROM ({labels}) p JOIN ({rows}) r ON {equal} AND p.b = r.b "  # noqa: S608
                f"AND r.t BETWEEN p.first AND p.a AND r.r <= p.l GROUP BY i"
            )
        joined = " ".join(f"LEFT JOIN ({query}) USING (i)" for query in queries)
        return f"SELECT * FROM (SELECT i FROM waiting) {joined}"  # noqa: S608

    def _start(self, fold: Fold, instant: str) -> str:
        step = self._layout.groups[fold.group].step_us
        return f"(({instant} - {fold.window_us} + {ERA_US}) // {step} * {step} - {ERA_US})"

    def _aggregate(self, fold: Fold, *, newness: str) -> str:
        """Return the SQL of an aggregate with ``{over}`` where the window goes."""
        group = self._layout.groups[fold.group]
        first = group.accumulators[fold.accumulators[0]]
        if first.source is None:
            return "count(s){over}"
        value = f"v{self._layout.sources.index(first.source)}"
        match fold.aggregate:
            case "mean":
                return f"sum({value}){{over}} / count({value}){{over}}"
            case "last":
                return f"arg_max({value}, {newness}){{over}}"
            case "distinct":
                return f"count(DISTINCT {value}){{over}}"
            case _:
                return f"{fold.aggregate}({value}){{over}}"

    def _typed(self, fold: Fold, sql: str) -> str:
        return f"TRY_CAST({sql} AS {_SQL_TYPES[fold.type]})"

    def _frame_query(self, sources: Sources, passed: Sequence[str]) -> str:
        """Return the SELECT of the whole frame: limits of age and defaults, then the expressions, in layers."""
        own = ", ".join(f"{quote(f'own_{name}')} AS {quote(name)}" for name in passed)
        stored = ", ".join(f"{sql} AS {quote(name)}" for name, sql in self._stored())
        stored = f", {stored}" if stored else ""
        query = f"SELECT _hw_label, {own}{stored} FROM labels LEFT JOIN found ON _hw_label = i"  # noqa: S608
        defaults = {feature.name: feature.default for feature in self._view.features}
        columns = self._expression_columns(passed)
        for name, expression in self._expressions:
            kind = next(feature.type for feature in self._view.features if feature.name == name)
            sql = _with_default(f"CAST({expression.sql(columns)} AS {_SQL_TYPES[kind]})", defaults[name], kind)
            query = f"SELECT *, {sql} AS {quote(name)} FROM ({query})"  # noqa: S608
            columns[name] = quote(name)
        order = [*passed, *(feature.name for feature in self._view.features)]
        del sources
        return f"SELECT {', '.join(map(quote, order))} FROM ({query}) ORDER BY _hw_label"  # noqa: S608

    def _stored(self) -> Iterator[tuple[str, str]]:
        """Yield name and SQL of the stored features: what is too old is nothing, and nothing has its default."""
        fresh = None if self._freshness_us is None else f"_hw_label_at - e <= {self._freshness_us}"
        features = {feature.name: feature for feature in self._view.features}
        count = len(self._layout.columns)
        for index, name in enumerate(self._layout.names):
            feature = features[name]
            sql = f"c{index}" if index < count else f"w{index - count}"
            if feature.aggregate in ("count", "distinct"):
                sql = f"coalesce({sql}, 0)"
            elif feature.kind == "aggregate" and feature.type == "number":
                sql = f"CASE WHEN isfinite({sql}) THEN {sql} END"
            if fresh is not None:
                sql = f"CASE WHEN {fresh} THEN {sql} END"
            yield name, _with_default(sql, feature.default, feature.type)

    def _expression_columns(self, passed: Sequence[str]) -> dict[str, str]:
        """Return the SQL of every name that expressions may use; an input that the labels lack is null."""
        columns = {name: quote(name) for name in self._layout.names}
        columns |= {name: f"{sql}" for name, sql in zip(self._view.entities, key_columns(self._view), strict=True)}
        types = {**_SQL_TYPES, "timestamp": "TIMESTAMPTZ"}
        for item in self._view.inputs:
            source = quote(item.name) if item.name in passed else "NULL"
            columns[item.name] = f"CAST({source} AS {types[item.type]})"
        return columns


def _with_default(sql: str, default: object, kind: str) -> str:
    if default is None:
        return sql
    text = str(default).replace("'", "''")
    return f"coalesce({sql}, CAST('{text}' AS {_SQL_TYPES[kind]}))"
