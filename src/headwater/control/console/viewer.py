"""Asking the data plane as the reader: rows and answers under the reader's own grants and policies, never control's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headwater.control.access.viewing import viewer_spec
from headwater.control.catalog.data_plane import connect
from headwater.control.console.place import Place
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import KeySpec

SHOWN_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer, by its name and DuckDB's type."""

    name: str
    type: str

    @property
    def is_number(self) -> bool:
        """Return whether its values are aligned by their digits."""
        return self.type.startswith(("TINY", "SMALL", "BIG", "HUGE", "INT", "UINT", "FLOAT", "DOUBLE", "DECIMAL"))


@dataclass(frozen=True, slots=True)
class Rows:
    """What came back: columns, rows as pairs of value and column, what policies left out; or a ``problem``."""

    columns: list[Column] = field(default_factory=list)
    rows: list[list[tuple[Any, Column]]] = field(default_factory=list)
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    hint: str = ""

    @property
    def decided(self) -> list[tuple[str, str]]:
        """Return which policy decided about which table."""
        return sorted(self.meta.get("policy", {}).items())

    @property
    def hidden(self) -> list[str]:
        """Return the columns that a policy leaves out or shows otherwise."""
        left_out = [
            f"{name} ({table})" for table, names in self.meta.get("hidden_columns", {}).items() for name in names
        ]
        masks = self.meta.get("masked_columns", {})
        masked = [f"{name} ({how})" for names in masks.values() for name, how in names.items()]
        return [*left_out, *masked]

    @property
    def is_cut(self) -> bool:
        """Return whether there are more rows than are shown."""
        return bool(self.meta.get("row_count", 0) > len(self.rows) or self.meta.get("truncated"))


def viewer_of(here: Place) -> KeySpec:
    """Return the reader as the data plane knows callers."""
    return viewer_spec(here.actor.subject, here.env)


def sample_rows(here: Place, dataset: str) -> Rows:
    """Return the first rows of a dataset as the reader may see them."""
    return _ask(here, f"datasets/{dataset}/rows", {"limit": str(SHOWN_ROWS)})


def ask_endpoint(here: Place, endpoint: str, parameters: Mapping[str, str]) -> Rows:
    """Return the answer of an endpoint to the reader; what is wrong with ``parameters`` is its ``problem``."""
    return _ask(here, f"endpoints/{endpoint}", parameters)


def _ask(here: Place, path: str, parameters: Mapping[str, str]) -> Rows:
    try:
        with connect() as services:
            answer = services.view(here.env.public_id, path, viewer_of(here), parameters)
    except HeadwaterError as error:
        return Rows(problem=error.detail, hint=error.hint or "")
    meta = answer.get("meta", {})
    columns = [Column(column["name"], column["type"]) for column in meta.get("columns", ())]
    data = answer.get("data", [])[:SHOWN_ROWS]
    return Rows(columns, [[(row.get(column.name), column) for column in columns] for row in data], meta)
