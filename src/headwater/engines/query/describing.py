"""The columns of a query's result, found without any data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import duckdb

from headwater.engines.query.failures import explain_failure
from headwater.engines.query.protocol import Column, TableSource
from headwater.engines.query.rules import Columns
from headwater.engines.query.tables import view_body
from headwater.engines.query.walk import CheckedQuery, scratch


def describe_query(query: CheckedQuery, shown: Mapping[str, Columns]) -> tuple[Column, ...]:
    """Return the columns that ``query`` answers, with their types in DuckDB's words. Runs nothing.

    Args:
        query: a checked query.
        shown: the columns, with DuckDB types, of every table it reads.

    Raises:
        HeadwaterError: ``sql_failed`` when a name or a type does not fit.
    """
    return describe_sources(query, {name: _empty(name, shown[name]) for name in query.tables})


def describe_sources(query: CheckedQuery, sources: Mapping[str, TableSource]) -> tuple[Column, ...]:
    """Return what ``query`` answers of these tables, as policies show them; errors as ``describe_query``."""
    empty = {name: f"({view_body(replace(sources[name], files=()))})" for name in query.tables}
    try:
        with scratch() as connection:
            connection.execute(f"DESCRIBE {query.render(empty)}", dict.fromkeys(query.parameters) or None)
            return tuple(Column(str(name), str(type_)) for name, type_, *_ in connection.fetchall())
    except duckdb.Error as error:
        raise explain_failure(error) from error


def _empty(name: str, columns: Columns) -> TableSource:
    return TableSource(name, None, (), tuple(columns), frozenset())
