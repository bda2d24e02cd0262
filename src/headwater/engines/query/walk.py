"""The deny-by-default walk over the syntax tree that DuckDB itself makes of a statement.

Only a statement that passed is ever run, and what runs is text made from the checked tree, never the caller's own. The
tables it names are left open in that text: a reader fills in the views of the versions it is pinned to.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import orjson

from headwater.core.errors import HeadwaterError
from headwater.engines.query import grammar, trees
from headwater.engines.query.grammar import Members, Role

MAX_BYTES: Final = 20_000
MAX_DEPTH: Final = 120
_NOWHERE: Final = 2**64 - 1
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TABLE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")
_HINT_TABLES: Final = "tables are named without schema, and are the environment's datasets"


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """A statement that passed the walk.

    Attributes:
        pieces: canonical SQL, cut where a table's name belongs.
        slots: the table that belongs between one piece and the next.
        tables: every table it reads, sorted.
        parameters: every ``$name`` in it, sorted.
        reads_clock: the result depends on the time, or on chance, and not on tables and parameters alone.
    """

    pieces: tuple[str, ...]
    slots: tuple[str, ...]
    tables: tuple[str, ...]
    parameters: tuple[str, ...]
    reads_clock: bool

    def render(self, views: Mapping[str, str]) -> str:
        """Return runnable SQL; ``views`` maps each table to the quoted, qualified view to read."""
        text = [self.pieces[0]]
        for slot, piece in zip(self.slots, self.pieces[1:], strict=True):
            text += (views[slot], piece)
        return "".join(text)


def check_query(
    sql: str, *, tables: Collection[str] | None = None, parameter_types: Mapping[str, str | None] | None = None
) -> CheckedQuery:
    """Hold ``sql`` against the allow-lists.

    Args:
        sql: one SELECT, in DuckDB's dialect.
        tables: lower-case names of the tables it may read; None while they are not known, and any plain name is one.
        parameter_types: DuckDB types that parameters are cast to where they stand; None leaves them as they are bound.

    Raises:
        HeadwaterError: ``sql_rejected`` saying what is not allowed, in which line, and what to write instead.
    """
    if tables is None:
        tables = _Walk(sql, (), {}).find_tables()
    return _Walk(sql, tables, parameter_types or {}).run()


def scratch() -> duckdb.DuckDBPyConnection:
    """Return a cursor on a shared, locked instance without any table, for parsing and describing."""
    global _shared  # noqa: PLW0603 - one instance a process is the point
    with _shared_lock:
        if _shared is None:
            _shared = duckdb.connect(config={"threads": 1, "python_enable_replacements": False})
            _shared.execute("SET enable_external_access = false; SET TimeZone = 'UTC'; SET lock_configuration = true")
        return _shared.cursor()


_shared: duckdb.DuckDBPyConnection | None = None
_shared_lock: Final = threading.Lock()


def _one_text(query: str, text: str) -> str:
    with scratch() as connection:
        row = connection.execute(query, {"text": text}).fetchone()
    assert row is not None
    return str(row[0])


class _Walk:
    """One pass over one statement. Names of tables are replaced by marks nobody can guess, then cut out."""

    def __init__(self, sql: str, tables: Collection[str], types: Mapping[str, str | None]) -> None:
        self._sql = sql
        self._public = frozenset(tables)
        self._types = types
        self._mark = secrets.token_hex(8)
        self._read: set[str] = set()
        self._others: dict[str, int] = {}
        self._ctes: set[str] = set()
        self._parameters: set[str] = set()
        self._reads_clock = False
        self._depth = 0

    def run(self) -> CheckedQuery:
        tree = self._parse()
        statement = tree["statements"][0]
        self._statement(statement)
        self._settle_names()
        try:
            text = _one_text("SELECT json_deserialize_sql($text)", orjson.dumps(tree).decode())
        except duckdb.Error as error:
            raise HeadwaterError("sql_rejected", "the statement has a form that cannot be run here") from error
        parts = re.split(f'"{self._mark}:([^"]+)"', text)
        return CheckedQuery(
            pieces=tuple(parts[0::2]),
            slots=tuple(parts[1::2]),
            tables=tuple(sorted(self._read)),
            parameters=tuple(sorted(self._parameters)),
            reads_clock=self._reads_clock,
        )

    def find_tables(self) -> frozenset[str]:
        """Return the names that are no WITH queries; each must be a plain one that DuckDB does not use itself."""
        self._statement(self._parse()["statements"][0])
        found = frozenset(self._others) - self._ctes
        for name in sorted(found):
            if not _TABLE_NAME.fullmatch(name) or name in _system_names():
                raise self._refusal(f"{name[:64]!r} is not a table", self._others[name], hint=_HINT_TABLES)
        return found

    # -- from text to tree

    def _parse(self) -> dict[str, Any]:
        if len(self._sql.encode()) > MAX_BYTES:
            raise HeadwaterError("sql_rejected", f"the statement is longer than {MAX_BYTES} bytes")
        try:
            tree: dict[str, Any] = orjson.loads(_one_text("SELECT json_serialize_sql($text)", self._sql))
        except orjson.JSONDecodeError as error:
            raise self._too_deep() from error
        except duckdb.Error as error:
            raise HeadwaterError("sql_rejected", "the statement cannot be parsed") from error
        if tree["error"]:
            raise self._unparsable(tree)
        if len(tree["statements"]) != 1:
            raise HeadwaterError("sql_rejected", "there must be exactly one statement", hint="send one SELECT")
        return tree

    def _unparsable(self, tree: Mapping[str, Any]) -> HeadwaterError:
        if tree["error_type"] == "not implemented":
            return HeadwaterError("sql_rejected", "only a SELECT may be run here", hint="send one SELECT")
        position = str(tree.get("position", ""))
        location = int(position) if position.isdigit() else _NOWHERE
        return self._refusal(str(tree["error_message"])[:300], location, hint="mend the syntax")

    # -- the walk itself

    def _statement(self, statement: Mapping[str, Any]) -> None:
        self._members(statement, grammar.STATEMENT, "a statement")

    def _query(self, node: dict[str, Any]) -> None:
        self._members(node, self._known(grammar.QUERIES, node, "type"), "a query")
        for item in node.get("select_list", ()):
            if trees.is_named_by_subquery(item):
                item["alias"] = self._name_of(item)

    def _name_of(self, item: Mapping[str, Any]) -> str:
        """Return what DuckDB would call a column, with the tables as the caller calls them instead of with views."""
        tree: dict[str, Any] = orjson.loads(_one_text("SELECT json_serialize_sql($text)", "SELECT 1"))
        tree["statements"][0]["node"]["select_list"] = [item]
        text = _one_text("SELECT json_deserialize_sql($text)", orjson.dumps(tree).decode()).removeprefix("SELECT ")
        return re.sub(rf'"{self._mark}:([^"]+)"(?: AS "?\1"?(?!\w))?', r"\1", text, flags=re.IGNORECASE)

    def _table(self, node: dict[str, Any]) -> None:
        members = self._known(grammar.TABLES, node, "type")
        self._members(node, members, "a table reference")
        if node["type"] == "BASE_TABLE":
            self._name_table(node)

    def _name_table(self, node: dict[str, Any]) -> None:
        name = node["table_name"]
        public = name.lower()
        if public not in self._public:
            self._others.setdefault(public, node["query_location"])
            return
        self._read.add(public)
        node["alias"] = node["alias"] or name
        node["table_name"] = f"{self._mark}:{public}"

    def _expression(self, node: dict[str, Any]) -> None:
        members = self._known(grammar.EXPRESSIONS, node, "class")
        kind = node["class"]
        if kind in ("FUNCTION", "WINDOW"):
            self._function(node)
        elif kind == "COLUMN_REF":
            self._column(node)
        elif kind == "COLLATE" and not re.fullmatch(r"[A-Za-z_.]+", node["collation"]):
            raise self._refusal("this collation is not allowed", node["query_location"])
        self._members(node, members, "an expression")
        if kind == "PARAMETER":
            self._parameter(node)
        elif kind == "CONSTANT" and node["value"]["type"]["id"] in ("DOUBLE", "FLOAT"):
            trees.wrap_in_cast(
                node, node["value"]["type"]["id"]
            )  # 1e5 is written as 100000.0, which reads as a decimal

    def _column(self, node: Mapping[str, Any]) -> None:
        """Look at words that the parser takes for columns and DuckDB for functions."""
        name = node["column_names"][-1].lower()
        if name in grammar.SESSION_WORDS:
            raise self._refusal(f"{name} is not allowed", node["query_location"])
        self._reads_clock = self._reads_clock or name in grammar.CLOCK_WORDS

    def _function(self, node: Mapping[str, Any]) -> None:
        name = node["function_name"].lower()
        if name not in grammar.FUNCTIONS:
            raise self._refusal(f"the function {name[:64]!r} is not allowed", node["query_location"])
        if name in ("lpad", "rpad") and not trees.is_short(node["children"]):
            hint = f"the length must be a plain number up to {trees.MAX_PAD}"
            raise self._refusal(f"{name} is allowed for short texts", node["query_location"], hint=hint)
        self._reads_clock = self._reads_clock or name in grammar.CLOCK_FUNCTIONS

    def _table_function(self, node: dict[str, Any]) -> None:
        name = str(node.get("function_name", "")).lower()
        if node.get("class") != "FUNCTION" or name not in grammar.TABLE_FUNCTIONS:
            hint = f"only {', '.join(sorted(grammar.TABLE_FUNCTIONS))} are"
            raise self._refusal(f"the table function {name[:64]!r} is not allowed", node["query_location"], hint=hint)
        self._members(node, grammar.EXPRESSIONS["FUNCTION"], "a table function")

    def _parameter(self, node: dict[str, Any]) -> None:
        name = node["identifier"]
        if not _NAME.fullmatch(name):
            raise self._refusal("parameters have names", node["query_location"], hint="write $name instead of ? or $1")
        self._parameters.add(name)
        type_id = self._types.get(name)
        if type_id is not None:
            trees.wrap_in_cast(node, type_id)

    def _ctes_of(self, value: Mapping[str, Any]) -> None:
        for entry in value.get("map", ()):
            name = entry["key"]
            if not _NAME.fullmatch(name) or name.lower() in self._public or name.lower() in _system_names():
                hint = "use a plain name that no table has"
                raise HeadwaterError("sql_rejected", f"WITH may not define {name[:64]!r}", hint=hint)
            self._ctes.add(name.lower())
            self._members(entry["value"], grammar.CTE, "a WITH clause")

    def _type(self, value: Mapping[str, Any], depth: int = 0) -> None:
        """Refuse types that are looked up by name, but for a few, wherever they are nested."""
        if depth > MAX_DEPTH:
            raise self._too_deep()
        if value.get("id") == "USER" or value.get("type") == "UNBOUND_TYPE_INFO":
            name = str(value.get("name", "")).lower()
            if name not in grammar.NAMED_TYPES or value.get("catalog") or value.get("schema"):
                raise HeadwaterError("sql_rejected", f"the type {name[:64]!r} is not allowed")
        for member in value.values():
            for item in member if isinstance(member, list) else (member,):
                if isinstance(item, dict):
                    self._type(item, depth + 1)

    def _sample(self, value: Mapping[str, Any]) -> None:
        self._reads_clock = True
        self._members(value, grammar.SAMPLE, "a sample")

    def _members(self, node: Mapping[str, Any], members: Members, what: str) -> None:
        """Walk every member of a node; one that the grammar lacks must be empty."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._too_deep()
        for name, value in node.items():
            if value in (None, "", False) or value in ([], {}):
                continue
            role = members.get(name)
            if role is None:
                location = node.get("query_location", _NOWHERE)
                word = name.replace("_", " ").removesuffix(" name")
                hint = _HINT_TABLES if name in ("schema_name", "catalog_name") else None
                raise self._refusal(f"{what} may not have a {word}", location, hint=hint)
            if role is not Role.PLAIN:
                self._visit(role, value)
        self._depth -= 1

    def _visit(self, role: Role, value: Any) -> None:
        match role:
            case Role.EXPRESSION:
                self._expression(value)
            case Role.EXPRESSIONS:
                self._each(Role.EXPRESSION, value)
            case Role.ROWS:
                self._each(Role.EXPRESSIONS, value)
            case Role.TABLE:
                self._table(value)
            case Role.QUERY:
                self._query(value)
            case Role.QUERIES:
                self._each(Role.QUERY, value)
            case Role.STATEMENT:
                self._statement(value)
            case Role.MODIFIER:
                self._members(value, self._known(grammar.MODIFIERS, value, "type"), "a modifier")
            case Role.MODIFIERS:
                self._each(Role.MODIFIER, value)
            case _:
                self._visit_rarer(role, value)

    def _visit_rarer(self, role: Role, value: Any) -> None:
        match role:
            case Role.CTES:
                self._ctes_of(value)
            case Role.TABLE_FUNCTION:
                self._table_function(value)
            case Role.TYPE:
                self._type(value)
            case Role.SAMPLE:
                self._sample(value)
            case Role.SCHEMA:
                if value != "main":
                    raise HeadwaterError("sql_rejected", "functions are named without schema")
            case _:
                members, what = _LISTED[role]
                for item in value:
                    self._members(item, members, what)

    def _each(self, role: Role, values: list[Any]) -> None:
        for value in values:
            self._visit(role, value)

    # -- what the walk found

    def _settle_names(self) -> None:
        """Refuse names that are neither tables nor WITH queries: nothing may be left for DuckDB to look up itself."""
        for name, location in self._others.items():
            if name not in self._ctes:
                known = ", ".join(sorted(self._public)[:20]) or "none"
                raise self._refusal(f"there is no table {name[:64]!r}", location, hint=f"tables: {known}")

    def _known(self, kinds: Mapping[str, Members], node: Mapping[str, Any], by: str) -> Members:
        kind = str(node.get(by))
        members = kinds.get(kind)
        if members is None:
            word = kind.removesuffix("_NODE").removesuffix("_REF").replace("_", " ")
            raise self._refusal(f"{word} is not allowed", node.get("query_location", _NOWHERE))
        return members

    def _too_deep(self) -> HeadwaterError:
        return HeadwaterError("sql_rejected", "the statement is nested too deeply", hint="split it with WITH")

    def _refusal(self, detail: str, location: int, *, hint: str | None = None) -> HeadwaterError:
        """Return the error, with the line where the tree says the thing stands."""
        if not 0 <= location <= len(self._sql.encode()):
            return HeadwaterError("sql_rejected", detail, hint=hint)
        line = self._sql.encode()[:location].count(b"\n") + 1
        return HeadwaterError("sql_rejected", f"line {line}: {detail}", hint=hint, extra={"line": line})


_LISTED: Final[Mapping[Role, tuple[Members, str]]] = {
    Role.ORDERS: (grammar.ORDER, "ORDER BY"),
    Role.CASES: (grammar.CASE, "CASE"),
    Role.PAIRS: (grammar.PAIR, "REPLACE"),
    Role.PIVOTS: (grammar.PIVOT, "PIVOT"),
}


def _system_names() -> frozenset[str]:
    """Return the names that DuckDB's own catalogue has, which no WITH query may take."""
    global _system  # noqa: PLW0603 - read once a process
    if not _system:
        with scratch() as connection:
            rows = connection.execute("SELECT DISTINCT lower(view_name) FROM duckdb_views() WHERE internal").fetchall()
        _system = frozenset(str(name) for (name,) in rows)
    return _system


_system: frozenset[str] = frozenset()
