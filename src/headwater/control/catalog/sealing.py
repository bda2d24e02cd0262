"""Columns that the database itself refuses to change: the triggers that seal them, on both databases.

On SQLite an altered table is made anew without its triggers, so a later migration that alters a sealed table has to
seal it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Seal:
    """Columns that may not change and rows that may not be deleted.

    Attributes:
        table: the table's name.
        columns: what may not change.
        unless: a condition in SQL on the row ``OLD`` under which the row is not sealed yet.
    """

    table: str
    columns: Sequence[str]
    unless: str = ""

    def install(self, editor: Any) -> None:
        """Create the triggers, in place of those that are there."""
        sqlite = editor.connection.vendor == "sqlite"
        self.remove(editor)
        reason = f"{self.table}: sealed rows cannot be changed or deleted"
        if not sqlite:
            editor.execute(_FUNCTION.format(name=f"{self.table}_refuse", reason=reason))
        listed = ", ".join(f'"{column}"' for column in self.columns)
        for name, event in (("sealed", f"UPDATE OF {listed}"), ("kept", "DELETE")):
            editor.execute(_trigger(self, f"{self.table}_{name}", event, reason, sqlite=sqlite))

    def remove(self, editor: Any) -> None:
        """Drop the triggers, if they are there."""
        sqlite = editor.connection.vendor == "sqlite"
        for name in (f"{self.table}_sealed", f"{self.table}_kept"):
            editor.execute(f"DROP TRIGGER IF EXISTS {name}" + ("" if sqlite else f" ON {self.table}"))
        if not sqlite:
            editor.execute(f"DROP FUNCTION IF EXISTS {self.table}_refuse()")


_FUNCTION = """CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{reason}' USING ERRCODE = 'integrity_constraint_violation'; END $$"""


def _trigger(seal: Seal, name: str, event: str, reason: str, *, sqlite: bool) -> str:
    table = seal.table
    condition = f" WHEN (NOT ({seal.unless}))" if seal.unless else ""
    if sqlite:
        return f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} BEGIN SELECT RAISE(ABORT, '{reason}'); END"
    return f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW{condition} EXECUTE FUNCTION {table}_refuse()"
