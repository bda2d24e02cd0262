"""Which tables are asked how often, and by which columns."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import orjson

from headwater.engines.query.protocol import TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.walk import CheckedQuery, scratch

HALF_LIFE_SECONDS: Final = 60.0
_MAX_KNOWN: Final = 1_000
_DESCEND: Final = 200


@dataclass(slots=True)
class Asked:
    """How a table is asked. ``score`` halves every minute; ``lookups`` counts columns that are compared with values."""

    source: TableSource
    score: float = 0.0
    at: float = field(default_factory=time.monotonic)
    is_wanted: bool = False
    lookups: Counter[str] = field(default_factory=Counter)

    def now(self) -> float:
        """Return the score as it is by now."""
        return self.score * math.exp2((self.at - time.monotonic()) / HALF_LIFE_SECONDS)

    def add(self, source: TableSource, columns: Collection[str], *, is_wanted: bool) -> None:
        """Count one query."""
        self.score = self.now() + 1.0
        self.at = time.monotonic()
        self.source = source
        self.is_wanted = self.is_wanted or is_wanted
        self.lookups.update(columns)


class Demand:
    """What the queries of a process ask. Written by one event loop, read by one thread."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._asked: dict[tuple[str, str], Asked] = {}
        self._columns: dict[tuple[str, ...], Mapping[str, frozenset[str]]] = {}

    def add(
        self, environment_id: str, query: CheckedQuery, tables: Mapping[str, TableSource], *, is_wanted: bool
    ) -> None:
        """Count a query over ``tables``; ``is_wanted``: its author asks for the accelerator."""
        known = self._columns.get(query.pieces)
        if known is None:
            if len(self._columns) >= _MAX_KNOWN:
                self._columns.clear()
            known = self._columns[query.pieces] = lookup_columns(query, tables)
        for name in query.tables:
            source = tables[name]
            if not source.files or source.hides_rows:
                continue
            asked = self._asked.get((environment_id, name))
            if asked is None:
                asked = self._asked[environment_id, name] = Asked(source)
            asked.add(source, known.get(name, frozenset()), is_wanted=is_wanted)

    def all(self) -> list[tuple[str, str, Asked]]:
        """Return environment, table and how it is asked."""
        return [(environment_id, name, asked) for (environment_id, name), asked in list(self._asked.items())]


def lookup_columns(query: CheckedQuery, tables: Mapping[str, TableSource]) -> dict[str, frozenset[str]]:
    """Return by table the columns that every row of the answer must equal a parameter in."""
    text = query.render({name: quote(name) for name in query.tables})
    try:
        with scratch() as connection:
            row = connection.execute("SELECT json_serialize_sql($text::VARCHAR)", {"text": text}).fetchone()
        tree: Any = orjson.loads(row[0]) if row else {}
    except (duckdb.Error, ValueError):
        return {}  # what is not understood is not sorted by
    found: dict[str, set[str]] = {}
    for node in _selects(tree, _DESCEND):
        aliases = dict(_aliases(node.get("from_table"), _DESCEND))
        for names in _compared(node.get("where_clause"), _DESCEND):
            *qualifier, column = names
            for alias, table in aliases.items():
                is_meant = not qualifier or qualifier[-1] == alias
                if is_meant and table in tables and column in dict(tables[table].columns):
                    found.setdefault(table, set()).add(column)
    return {table: frozenset(columns) for table, columns in found.items()}


def _selects(node: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Return every SELECT in a tree."""
    if depth and isinstance(node, dict):
        if node.get("type") == "SELECT_NODE":
            yield node
        for child in node.values():
            yield from _selects(child, depth - 1)
    elif depth and isinstance(node, list):
        for child in node:
            yield from _selects(child, depth - 1)


def _aliases(node: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Return alias and name of every table of a FROM."""
    if not depth or not isinstance(node, dict):
        return
    if node.get("type") == "BASE_TABLE":
        yield node.get("alias") or node["table_name"], node["table_name"].lower()
    for side in ("left", "right"):
        yield from _aliases(node.get(side), depth - 1)


def _compared(node: Any, depth: int) -> Iterator[list[str]]:
    """Return the column references that a WHERE holds equal to a parameter, whatever else it says."""
    if not depth or not isinstance(node, dict):
        return
    if node.get("type") == "CONJUNCTION_AND":
        for child in node.get("children", ()):
            yield from _compared(child, depth - 1)
    elif node.get("type") == "COMPARE_EQUAL":
        sides = [_bare(node.get("left")), _bare(node.get("right"))]
        for one, other in (sides, sides[::-1]):
            if one.get("class") == "COLUMN_REF" and other.get("class") == "PARAMETER":
                yield [str(name) for name in one["column_names"]]


def _bare(node: Any) -> dict[str, Any]:
    """Return an expression without the casts around it."""
    while isinstance(node, dict) and node.get("class") == "CAST":
        node = node.get("child")
    return node if isinstance(node, dict) else {}
