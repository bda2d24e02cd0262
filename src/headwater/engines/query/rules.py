"""What a policy comes to in a view. Light to import: the worker that runs ad-hoc SQL is given rules, not policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headwater.engines.query.quoting import quote

Columns = Sequence[tuple[str, str]]
"""Names with their DuckDB types."""
NEVER: Final = "false"


@dataclass(frozen=True, slots=True)
class RowRule:
    """A policy as a view applies it.

    Attributes:
        where: the condition on a row as it is stored; ``""``: every row, ``false``: none.
        shown: every column that is shown, with the SQL of its value.
        hidden: the columns that are left out by the policy's word.
    """

    where: str
    shown: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...] = ()

    def select(self, base: str) -> str:
        """Return the SELECT over the SELECT ``base``."""
        shown = ", ".join(f"{sql} AS {quote(name)}" for name, sql in self.shown)
        condition = f" WHERE {self.where}" if self.where else ""
        return f'SELECT {shown} FROM ({base}) AS "rows"{condition}'  # noqa: S608 - made of literals and quoted names


def column_of(name: str) -> str:
    """Return a stored column's SQL within a rule."""
    # Qualified, because WHERE would take the masked form of the same name for it otherwise.
    return f'"rows".{quote(name)}'
