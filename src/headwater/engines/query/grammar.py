"""What SQL may say: every kind of node of DuckDB's syntax tree, with the members it may have and how each is walked.

This is an allow-list. A kind that is not here is refused, and so is a member that is not here unless it is empty, which
is how DuckDB writes what a statement does not use. What a later DuckDB adds is refused until it is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from importlib.resources import files
from types import MappingProxyType
from typing import Final


class Role(Enum):
    """How the value of a member is walked."""

    PLAIN = auto()  # names, numbers and enumerations: nothing in them is looked up
    EXPRESSION = auto()
    EXPRESSIONS = auto()
    ROWS = auto()  # lists of expressions
    PAIRS = auto()  # name to expression, as in REPLACE
    CASES = auto()  # WHEN … THEN …
    ORDERS = auto()
    MODIFIER = auto()
    MODIFIERS = auto()
    QUERY = auto()
    QUERIES = auto()
    STATEMENT = auto()
    CTES = auto()
    TABLE = auto()
    TABLE_FUNCTION = auto()
    PIVOTS = auto()
    SAMPLE = auto()
    TYPE = auto()
    SCHEMA = auto()  # of a function: none, or the built-in one


Members = Mapping[str, Role]

_QUERY: Final[dict[str, Role]] = {"type": Role.PLAIN, "modifiers": Role.MODIFIERS, "cte_map": Role.CTES}
QUERIES: Final[Mapping[str, Members]] = MappingProxyType(
    {
        "SELECT_NODE": _QUERY
        | {
            "select_list": Role.EXPRESSIONS,
            "from_table": Role.TABLE,
            "where_clause": Role.EXPRESSION,
            "group_expressions": Role.EXPRESSIONS,
            "group_sets": Role.PLAIN,
            "aggregate_handling": Role.PLAIN,
            "having": Role.EXPRESSION,
            "sample": Role.SAMPLE,
            "qualify": Role.EXPRESSION,
        },
        "SET_OPERATION_NODE": _QUERY
        | {
            "setop_type": Role.PLAIN,
            "setop_all": Role.PLAIN,
            "left": Role.QUERY,
            "right": Role.QUERY,
            "children": Role.QUERIES,
        },
        "RECURSIVE_CTE_NODE": _QUERY
        | {
            "cte_name": Role.PLAIN,
            "union_all": Role.PLAIN,
            "left": Role.QUERY,
            "right": Role.QUERY,
            "aliases": Role.PLAIN,
            "key_targets": Role.EXPRESSIONS,
        },
    }
)

_TABLE: Final[dict[str, Role]] = {
    "type": Role.PLAIN,
    "alias": Role.PLAIN,
    "query_location": Role.PLAIN,
    "sample": Role.SAMPLE,
    "column_name_alias": Role.PLAIN,
}
TABLES: Final[Mapping[str, Members]] = MappingProxyType(
    {
        "BASE_TABLE": _TABLE | {"table_name": Role.PLAIN},
        "SUBQUERY": _TABLE | {"subquery": Role.STATEMENT},
        "JOIN": _TABLE
        | {
            "left": Role.TABLE,
            "right": Role.TABLE,
            "condition": Role.EXPRESSION,
            "join_type": Role.PLAIN,
            "ref_type": Role.PLAIN,
            "using_columns": Role.PLAIN,
        },
        "TABLE_FUNCTION": _TABLE | {"function": Role.TABLE_FUNCTION, "with_ordinality": Role.PLAIN},
        "EXPRESSION_LIST": _TABLE | {"values": Role.ROWS, "expected_names": Role.PLAIN},
        "EMPTY": _TABLE,
        "PIVOT": _TABLE
        | {
            "source": Role.TABLE,
            "aggregates": Role.EXPRESSIONS,
            "unpivot_names": Role.PLAIN,
            "pivots": Role.PIVOTS,
            "groups": Role.PLAIN,
            "include_nulls": Role.PLAIN,
        },
    }
)

_EXPRESSION: Final[dict[str, Role]] = {
    "class": Role.PLAIN,
    "type": Role.PLAIN,
    "alias": Role.PLAIN,
    "query_location": Role.PLAIN,
}
_CALL: Final[dict[str, Role]] = _EXPRESSION | {
    "function_name": Role.PLAIN,
    "schema": Role.SCHEMA,
    "children": Role.EXPRESSIONS,
    "distinct": Role.PLAIN,
}
EXPRESSIONS: Final[Mapping[str, Members]] = MappingProxyType(
    {
        "CONSTANT": _EXPRESSION | {"value": Role.PLAIN},
        "COLUMN_REF": _EXPRESSION | {"column_names": Role.PLAIN},
        "POSITIONAL_REFERENCE": _EXPRESSION | {"index": Role.PLAIN},
        "PARAMETER": _EXPRESSION | {"identifier": Role.PLAIN},
        "FUNCTION": _CALL | {"filter": Role.EXPRESSION, "order_bys": Role.MODIFIER, "is_operator": Role.PLAIN},
        "WINDOW": _CALL
        | {
            "partitions": Role.EXPRESSIONS,
            "orders": Role.ORDERS,
            "start": Role.PLAIN,
            "end": Role.PLAIN,
            "start_expr": Role.EXPRESSION,
            "end_expr": Role.EXPRESSION,
            "offset_expr": Role.EXPRESSION,
            "default_expr": Role.EXPRESSION,
            "ignore_nulls": Role.PLAIN,
            "filter_expr": Role.EXPRESSION,
            "exclude_clause": Role.PLAIN,
            "arg_orders": Role.ORDERS,
        },
        "CAST": _EXPRESSION | {"child": Role.EXPRESSION, "cast_type": Role.TYPE, "try_cast": Role.PLAIN},
        "OPERATOR": _EXPRESSION | {"children": Role.EXPRESSIONS},
        "COMPARISON": _EXPRESSION | {"left": Role.EXPRESSION, "right": Role.EXPRESSION},
        "CONJUNCTION": _EXPRESSION | {"children": Role.EXPRESSIONS},
        "BETWEEN": _EXPRESSION | {"input": Role.EXPRESSION, "lower": Role.EXPRESSION, "upper": Role.EXPRESSION},
        "CASE": _EXPRESSION | {"case_checks": Role.CASES, "else_expr": Role.EXPRESSION},
        "SUBQUERY": _EXPRESSION
        | {
            "subquery_type": Role.PLAIN,
            "subquery": Role.STATEMENT,
            "child": Role.EXPRESSION,
            "comparison_type": Role.PLAIN,
        },
        "STAR": _EXPRESSION
        | {
            "relation_name": Role.PLAIN,
            "exclude_list": Role.PLAIN,
            "qualified_exclude_list": Role.PLAIN,
            "replace_list": Role.PAIRS,
            "rename_list": Role.PLAIN,
            "columns": Role.PLAIN,
            "expr": Role.EXPRESSION,
        },
        "LAMBDA": _EXPRESSION | {"lhs": Role.EXPRESSION, "expr": Role.EXPRESSION},
        "COLLATE": _EXPRESSION | {"child": Role.EXPRESSION, "collation": Role.PLAIN},
    }
)

MODIFIERS: Final[Mapping[str, Members]] = MappingProxyType(
    {
        "ORDER_MODIFIER": {"type": Role.PLAIN, "orders": Role.ORDERS},
        "LIMIT_MODIFIER": {"type": Role.PLAIN, "limit": Role.EXPRESSION, "offset": Role.EXPRESSION},
        "LIMIT_PERCENT_MODIFIER": {"type": Role.PLAIN, "limit": Role.EXPRESSION, "offset": Role.EXPRESSION},
        "DISTINCT_MODIFIER": {"type": Role.PLAIN, "distinct_on_targets": Role.EXPRESSIONS},
    }
)
ORDER: Final[Members] = {"type": Role.PLAIN, "null_order": Role.PLAIN, "expression": Role.EXPRESSION}
CASE: Final[Members] = {"when_expr": Role.EXPRESSION, "then_expr": Role.EXPRESSION}
PAIR: Final[Members] = {"key": Role.PLAIN, "value": Role.EXPRESSION}
STATEMENT: Final[Members] = {"node": Role.QUERY, "named_param_map": Role.PLAIN}
CTE: Final[Members] = {
    "aliases": Role.PLAIN,
    "query": Role.STATEMENT,
    "materialized": Role.PLAIN,
    "key_targets": Role.EXPRESSIONS,
}
PIVOT: Final[Members] = {
    "pivot_expressions": Role.EXPRESSIONS,
    "unpivot_names": Role.PLAIN,
    "entries": Role.PLAIN,  # constants, and the names of columns that UNPIVOT turns
}
SAMPLE: Final[Members] = {
    "sample_size": Role.PLAIN,
    "is_percentage": Role.PLAIN,
    "method": Role.PLAIN,
    "seed": Role.PLAIN,
    "repeatable": Role.PLAIN,
}

TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest", "json_each"})
NAMED_TYPES: Final = frozenset({"json", "enum"})
CLOCK_FUNCTIONS: Final = frozenset(
    {
        "now",
        "today",
        "current_date",
        "current_localtime",
        "current_localtimestamp",
        "get_current_timestamp",
        "age",
        "ago",
    }
)
CLOCK_WORDS: Final = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)  # read as column names by the parser

SESSION_WORDS: Final = frozenset({"current_user", "session_user", "current_role", "current_catalog", "current_schema"})


def _read_functions() -> frozenset[str]:
    text = files(__package__).joinpath("functions.txt").read_text(encoding="utf-8")
    return frozenset(name for line in text.splitlines() if not line.startswith("# ") for name in line.split())


FUNCTIONS: Final = _read_functions()
