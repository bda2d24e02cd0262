"""What each column of a result is made of: the columns of tables that its value comes from.

Found on the syntax tree that DuckDB makes, without running anything. Only what a value is computed from counts, not
what rows are filtered, grouped or ordered by. Where the tree has a form whose columns cannot be told from the text
alone (PIVOT, NATURAL JOIN, COLUMNS), nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import orjson

from headwater.engines.query.walk import scratch

Origin = tuple[str, str]
"""A table and its column."""
Made = tuple[str, frozenset[Origin]]
"""A column's name, in lower case, and what it is made of."""
_NOTHING: Final[frozenset[Origin]] = frozenset()
_MAX_DEPTH: Final = 200


class _UnknownForm(Exception):
    """The columns cannot be told from the text."""


def find_origins(sql: str, shown: Mapping[str, Sequence[str]]) -> tuple[frozenset[Origin], ...] | None:
    """Return what each column of the result is made of, in their order; None when that cannot be told.

    Args:
        sql: a statement that passed the walk.
        shown: the columns of every table it reads, by the table's lower-case name.
    """
    try:
        with scratch() as connection:
            row = connection.execute("SELECT json_serialize_sql($text)", {"text": sql}).fetchone()
        assert row is not None
        tree = orjson.loads(row[0])
        tables = {
            name: [(column.lower(), frozenset({(name, column)})) for column in columns]
            for name, columns in shown.items()
        }
        return tuple(origins for _, origins in _Query(tables).columns(tree["statements"][0]["node"]))
    except (duckdb.Error, orjson.JSONDecodeError, _UnknownForm, RecursionError, LookupError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class _Source:
    """Something in FROM: what it is called, its columns, and which of them USING merged into the one before."""

    alias: str
    columns: Sequence[Made]
    merged: frozenset[str] = frozenset()


class _Query:
    """One query with the named tables and WITH queries it can see, and the sources around it."""

    def __init__(self, tables: Mapping[str, Sequence[Made]], outer: Sequence[_Source] = (), depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise _UnknownForm
        self._tables = dict(tables)
        self._outer = outer
        self._depth = depth

    def columns(self, node: Mapping[str, Any]) -> list[Made]:
        """Return what the query answers."""
        for entry in (node.get("cte_map") or {}).get("map", ()):
            inner = self._inner().columns(entry["value"]["query"]["node"])
            self._tables[entry["key"].lower()] = _aliased(inner, entry["value"].get("aliases"))
        match node["type"]:
            case "SELECT_NODE":
                return self._select(node)
            case "SET_OPERATION_NODE":
                both = self._inner().columns(node["left"]), self._inner().columns(node["right"])
                return _by_name(*both) if "BY_NAME" in node["setop_type"] else _by_position(*both)
            case "RECURSIVE_CTE_NODE":
                return self._recursive(node)
            case _:
                raise _UnknownForm

    def _inner(self, outer: Sequence[_Source] = ()) -> _Query:
        return _Query(self._tables, [*outer, *self._outer], self._depth + 1)

    def _recursive(self, node: Mapping[str, Any]) -> list[Made]:
        """Follow the recursion until it adds nothing: each round can only add to what was found."""
        found = self._inner().columns(node["left"])
        while True:
            self._tables[node["cte_name"].lower()] = found
            more = _by_position(found, self._inner().columns(node["right"]))
            if more == found:
                return found
            found = more

    def _select(self, node: Mapping[str, Any]) -> list[Made]:
        sources = list(self._sources(node["from_table"]))
        made: list[Made] = []
        for item in node["select_list"]:
            made += self._star(item, sources, made) if item["class"] == "STAR" else [self._one(item, sources, made)]
        return made

    def _one(self, item: Mapping[str, Any], sources: Sequence[_Source], before: Sequence[Made]) -> Made:
        name = item.get("alias") or (item["column_names"][-1] if item["class"] == "COLUMN_REF" else "")
        return name.lower(), self._value(item, sources, before)

    def _star(self, item: Mapping[str, Any], sources: Sequence[_Source], before: Sequence[Made]) -> list[Made]:
        if item.get("columns") or item.get("expr") or item.get("rename_list"):
            raise _UnknownForm
        of = str(item.get("relation_name") or "").lower()
        left_out = {str(name).lower() for name in item.get("exclude_list", ())}
        replaced = {
            entry["key"].lower(): self._value(entry["value"], sources, before) for entry in item.get("replace_list", ())
        }
        matching = [source for source in sources if not of or source.alias == of]
        if not matching:
            raise _UnknownForm
        return [
            (name, replaced.get(name, origins))
            for source in matching
            for name, origins in source.columns
            if name not in left_out and (of or name not in source.merged)
        ]

    # -- FROM

    def _sources(self, node: Mapping[str, Any]) -> Iterator[_Source]:
        alias = str(node.get("alias") or "").lower()
        names = node.get("column_name_alias")
        match node["type"]:
            case "EMPTY":
                return
            case "BASE_TABLE":
                name = node["table_name"].lower()
                yield _Source(alias or name, _aliased(self._tables[name], names))
            case "SUBQUERY":
                yield _Source(alias, _aliased(self._inner().columns(node["subquery"]["node"]), names))
            case "JOIN":
                yield from self._join(node)
            case "EXPRESSION_LIST":
                rows = [[self._value(value, (), ()) for value in row] for row in node["values"]]
                columns = [("", _all(column)) for column in zip(*rows, strict=True)]
                yield _Source(alias, _aliased(columns, names))
            case "TABLE_FUNCTION" if names and b"COLUMN_REF" not in orjson.dumps(node["function"]):
                yield _Source(alias, _aliased([("", _NOTHING)] * len(names), names))
            case _:
                raise _UnknownForm

    def _join(self, node: Mapping[str, Any]) -> Iterator[_Source]:
        if node["ref_type"] not in ("REGULAR", "CROSS", "POSITIONAL", "ASOF"):
            raise _UnknownForm
        yield from self._sources(node["left"])
        using = frozenset(str(name).lower() for name in node.get("using_columns", ()))
        if node["join_type"] in ("SEMI", "ANTI"):
            return
        for source in self._sources(node["right"]):
            yield _Source(source.alias, source.columns, source.merged | using)

    # -- values

    def _value(self, node: Any, sources: Sequence[_Source], before: Sequence[Made]) -> frozenset[Origin]:
        """Return every column below an expression, each looked up where it stands."""
        found: set[Origin] = set()
        waiting = [node]
        while waiting:
            item = waiting.pop()
            if isinstance(item, list):
                waiting += item
            elif isinstance(item, dict):
                if item.get("class") == "COLUMN_REF":
                    found |= self._column([str(name).lower() for name in item["column_names"]], sources, before)
                elif item.get("class") == "SUBQUERY":
                    inner = self._inner(sources).columns(item["subquery"]["node"])
                    found |= _all(origins for _, origins in inner)
                    waiting.append(item.get("child"))
                else:
                    waiting += item.values()
        return frozenset(found)

    def _column(self, names: Sequence[str], sources: Sequence[_Source], before: Sequence[Made]) -> frozenset[Origin]:
        """Return what a reference means: a source's column, a part of one, or a column named further left."""
        for seen in (sources, self._outer):
            for source in seen:
                columns = dict(source.columns)
                if len(names) > 1 and source.alias == names[0] and names[1] in columns:
                    return columns[names[1]]
            for source in seen:
                columns = dict(source.columns)
                if names[0] in columns:
                    return columns[names[0]]
            for source in seen:
                if source.alias == names[0] and len(names) == 1:  # the whole row
                    return _all(origins for _, origins in source.columns)
            if seen is sources and names[0] in dict(before):
                return dict(before)[names[0]]
        return _NOTHING  # a lambda's parameter, or a word such as current_date


def _all(parts: Iterable[frozenset[Origin]]) -> frozenset[Origin]:
    return frozenset().union(*parts)


def _aliased(columns: Sequence[Made], names: Sequence[str] | None) -> Sequence[Made]:
    if not names:
        return columns
    renamed = [(str(name).lower(), origins) for name, (_, origins) in zip(names, columns, strict=False)]
    return [*renamed, *columns[len(renamed) :]]


def _by_position(left: Sequence[Made], right: Sequence[Made]) -> list[Made]:
    return [(name, one | two) for (name, one), (_, two) in zip(left, right, strict=True)]


def _by_name(left: Sequence[Made], right: Sequence[Made]) -> list[Made]:
    second = dict(right)
    first = [(name, origins | second.get(name, _NOTHING)) for name, origins in left]
    return [*first, *((name, origins) for name, origins in right if name not in dict(left))]
