"""What answers SQL: tables pinned to versions go in, typed columns and a stream of Arrow batches come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import pyarrow as pa

from headwater.engines.query.rules import Columns, RowRule

if TYPE_CHECKING:  # DuckDB takes 30 MB, and control asks it something when a project is applied
    from headwater.engines.query.walk import CheckedQuery


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table as one query sees it.

    Attributes:
        name: what SQL calls it.
        version: the pinned table version; None while no row was ever sealed.
        files: the Parquet files of that version.
        columns: name and DuckDB type of every column it shows, in order.
        stored: the names of those columns that the files have; the others are NULL.
        hides_rows: no policy lets the caller see rows, so it is empty.
        rule: what the policy that decides shows of rows and columns; None: everything.
        key: the columns that tell rows apart, where the contract names them.
    """

    name: str
    version: int | None
    files: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    stored: frozenset[str]
    hides_rows: bool = False
    rule: RowRule | None = None
    key: tuple[str, ...] = ()


class ResultPolicy(Protocol):
    """A policy on what a query answers, for one who asks."""

    def rule(self, columns: Columns) -> RowRule:
        """Return what it shows of these columns; raises ``forbidden`` when it does not fit them."""
        ...


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result, with its type in DuckDB's words."""

    name: str
    type: str


class Reading(Protocol):
    """The answer to one query under way. Used by one thread at a time, but for ``interrupt``."""

    @property
    def tier(self) -> str:
        """Return what answers, ``accelerator`` or ``parquet``; certain once rows came."""
        ...

    @property
    def columns(self) -> Sequence[Column]:
        """Return the result's columns."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the batches."""
        ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows as they come, computed while they are taken.

        Raises:
            HeadwaterError: ``query_timeout`` once interrupted, ``sql_failed`` when the data does not bear the query.
        """
        ...

    def interrupt(self) -> None:
        """Stop as soon as possible; from any thread, at any time, more than once."""
        ...

    def close(self) -> None:
        """Release what the query holds."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class QueryEngine(Protocol):
    """Runs checked queries. Safe to use from several threads."""

    @property
    def version(self) -> str:
        """Return the engine's version: results of two versions may differ."""
        ...

    def start(
        self,
        environment_id: str,
        query: CheckedQuery,
        *,
        parameters: Mapping[str, Any],
        tables: Mapping[str, TableSource],
        batch_rows: int,
        shown: ResultPolicy | None = None,
        is_wanted: bool = False,
    ) -> Reading:
        """Return a reading that has not begun; the first use of its columns or batches runs the query.

        ``shown`` is the policy on what the query answers, beside those on the tables it reads. ``is_wanted`` asks for
        the accelerator at once, not only when the tables are asked often.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...
