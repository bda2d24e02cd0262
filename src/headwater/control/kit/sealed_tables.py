"""Rows that the database itself refuses to change: the triggers that seal tables, and the migrations that set them.

On SQLite an altered table is made anew without its triggers, so a later migration that alters a sealed table has to
break its seal first and seal it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.db.migrations import Migration
from django.db.migrations.operations.base import Operation


class TableSeal(Protocol):
    """What keeps a table's rows as they are."""

    @property
    def table(self) -> str:
        """The table's name."""
        ...

    def install(self, editor: Any) -> None:
        """Create the triggers, in place of those that are there."""
        ...

    def remove(self, editor: Any) -> None:
        """Drop the triggers, if they are there."""
        ...


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


@dataclass(frozen=True, slots=True)
class AppendOnly:
    """Rows that may neither change nor be deleted, one by one or all at once.

    Attributes:
        table: the table's name.
        name: what the triggers' names begin with.
        rows: what the rows are called where they are refused.
    """

    table: str
    name: str
    rows: str

    def install(self, editor: Any) -> None:
        """Create the triggers, in place of those that are there."""
        self.remove(editor)
        if editor.connection.vendor == "sqlite":
            for event, done in (("UPDATE", "changed"), ("DELETE", "deleted")):
                editor.execute(
                    f"CREATE TRIGGER {self.name}_no_{event.lower()} BEFORE {event} ON {self.table} "
                    f"BEGIN SELECT RAISE(ABORT, '{self.rows} cannot be {done}'); END"
                )
            return
        refuse = f"{self.name}_refuse"
        editor.execute(_FUNCTION.format(name=refuse, reason=f"{self.rows} cannot be changed or deleted"))
        for name, event, each in (("sealed", "UPDATE OR DELETE", "ROW"), ("kept", "TRUNCATE", "STATEMENT")):
            editor.execute(
                f"CREATE TRIGGER {self.name}_{name} BEFORE {event} ON {self.table} "
                f"FOR EACH {each} EXECUTE FUNCTION {refuse}()"
            )

    def remove(self, editor: Any) -> None:
        """Drop the triggers, if they are there."""
        if editor.connection.vendor == "sqlite":
            for event in ("update", "delete"):
                editor.execute(f"DROP TRIGGER IF EXISTS {self.name}_no_{event}")
            return
        for name in ("kept", "sealed"):
            editor.execute(f"DROP TRIGGER IF EXISTS {self.name}_{name} ON {self.table}")
        editor.execute(f"DROP FUNCTION IF EXISTS {self.name}_refuse()")


class SealTables(Operation):
    """A migration's step that seals tables; its way back breaks the seals."""

    def __init__(self, *seals: TableSeal) -> None:
        self.seals = seals

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Change no model: triggers are the database's alone."""

    def database_forwards(self, _app_label: str, schema_editor: Any, _from_state: Any, _to_state: Any) -> None:
        """Seal."""
        for seal in self.seals:
            seal.install(schema_editor)

    def database_backwards(self, _app_label: str, schema_editor: Any, _from_state: Any, _to_state: Any) -> None:
        """Break the seals."""
        for seal in self.seals:
            seal.remove(schema_editor)

    def describe(self) -> str:
        """Name the tables."""
        return f"Seal {', '.join(seal.table for seal in self.seals)}"


class BreakSeals(SealTables):
    """A migration's step that breaks seals before tables are altered; its way back seals as it was."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Break the seals."""
        super().database_backwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Seal."""
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        """Name the tables."""
        return f"Break the seals of {', '.join(seal.table for seal in self.seals)}"


def standing_seals(migrations: Iterable[Migration]) -> list[TableSeal]:
    """Return the seals that stand after ``migrations``, in the order given, by the newest word on each table."""
    standing: dict[str, TableSeal] = {}
    for migration in migrations:
        for step in migration.operations:
            if isinstance(step, BreakSeals):
                for seal in step.seals:
                    standing.pop(seal.table, None)
            elif isinstance(step, SealTables):
                standing.update((seal.table, seal) for seal in step.seals)
    return list(standing.values())


_FUNCTION = """CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{reason}' USING ERRCODE = 'integrity_constraint_violation'; END $$"""


def _trigger(seal: Seal, name: str, event: str, reason: str, *, sqlite: bool) -> str:
    table = seal.table
    condition = f" WHEN (NOT ({seal.unless}))" if seal.unless else ""
    if sqlite:
        return f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} BEGIN SELECT RAISE(ABORT, '{reason}'); END"
    return f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW{condition} EXECUTE FUNCTION {table}_refuse()"
