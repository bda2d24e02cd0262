"""Tables of record as SQL sees them: which columns they show, and the views DuckDB reads them through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from headwater.engines.query.protocol import TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.rules import RowRule

if TYPE_CHECKING:  # the worker that runs ad-hoc SQL has no use for the lake's libraries
    from headwater.engines.lake.protocol import TableState

SYSTEM_COLUMNS: Final = pa.schema(
    [
        ("_hw_seq", pa.int64()),
        ("_hw_received_at", pa.timestamp("us", "UTC")),
        ("_hw_receipt", pa.string()),
        ("_hw_contract", pa.string()),
    ]
)


@lru_cache(maxsize=1024)
def duckdb_columns(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    """Return name and DuckDB type of every column of an Arrow schema."""
    if not schema.names:
        return ()
    # Loaded when first asked: control describes tables when a project is applied, and not before.
    from headwater.engines.query.walk import scratch  # noqa: PLC0415

    with scratch() as connection:
        types = connection.from_arrow(schema.empty_table()).types
    return tuple((name, str(type_)) for name, type_ in zip(schema.names, types, strict=True))


def table_source(
    name: str,
    expected: pa.Schema,
    state: TableState | None,
    *,
    hides_rows: bool = False,
    rule: RowRule | None = None,
    key: tuple[str, ...] = (),
) -> TableSource:
    """Return a dataset's table as SQL sees it.

    Args:
        name: what SQL calls it.
        expected: the columns that are shown even while no file has them (the active contract's and the system's).
        state: the pinned version; None while there is no table.
        hides_rows: whether it must look empty.
        rule: what a policy shows of the expected columns; others that are stored are not shown then.
        key: the columns that tell rows apart.
    """
    expected_columns = dict(duckdb_columns(expected))
    stored: dict[str, str] = {} if state is None else dict(duckdb_columns(state.schema))
    columns = {column: stored.get(column, type_) for column, type_ in expected_columns.items()}
    if rule is None:
        columns |= {column: type_ for column, type_ in stored.items() if column not in columns}
    return TableSource(
        name=name,
        version=None if state is None else state.version,
        files=() if state is None else state.files,
        columns=tuple(columns.items()),
        stored=frozenset(stored),
        hides_rows=hides_rows,
        rule=rule,
        key=key,
    )


def view_body(source: TableSource, *, rows: str | None = None) -> str:
    """Return the SELECT that shows ``source``: exactly what its rule shows of its columns, nothing but its files.

    ``rows`` is a relation that has the rows and stored columns of those files, in place of them.
    """
    stored = _stored_rows(source, rows)
    return stored if source.rule is None else source.rule.select(stored)


def _stored_rows(source: TableSource, rows: str | None) -> str:
    is_empty = source.hides_rows or not source.files
    shown = ", ".join(
        quote(name) if name in source.stored and not is_empty else f"CAST(NULL AS {type_}) AS {quote(name)}"
        for name, type_ in source.columns
    )
    if is_empty:
        return f"SELECT {shown} WHERE false"
    if rows is None:
        rows = parquet_rows(source.files)
    return f"SELECT {shown} FROM {rows}"  # noqa: S608 - quoted names and literals


def parquet_rows(files: Sequence[str]) -> str:
    """Return the relation of the rows of Parquet files, which have the same columns or some of them."""
    listed = ", ".join(_literal(path) for path in files)
    return f"read_parquet([{listed}], union_by_name = true)"


def plain_source(source: TableSource) -> Mapping[str, object]:
    """Return a source as JSON holds it; ``read_source`` is the inverse."""
    return {
        "name": source.name,
        "version": source.version,
        "files": list(source.files),
        "columns": [list(column) for column in source.columns],
        "stored": sorted(source.stored),
        "hides_rows": source.hides_rows,
        "rule": None if source.rule is None else asdict(source.rule),
    }


def read_source(plain: Mapping[str, object]) -> TableSource:
    """Return the source that ``plain_source`` wrote."""
    members = dict(plain)
    files, columns, stored = members.pop("files"), members.pop("columns"), members.pop("stored")
    rule: Any = members.pop("rule")
    assert isinstance(files, list)
    assert isinstance(columns, list)
    assert isinstance(stored, list)
    return TableSource(
        files=tuple(files),
        columns=tuple((name, type_) for name, type_ in columns),
        stored=frozenset(stored),
        rule=rule and RowRule(rule["where"], tuple(map(tuple, rule["shown"])), tuple(rule["hidden"])),
        **members,  # type: ignore[arg-type] # written by plain_source
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
