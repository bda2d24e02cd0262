"""An empty database gets at once exactly what all the migrations would have made of it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.builders.two_ways import make_both_ways


def test_an_empty_database_gets_what_the_migrations_would_have_made(tmp_path: Path) -> None:
    at_once, step_by_step = tmp_path / "at-once.sqlite3", tmp_path / "step-by-step.sqlite3"
    make_both_ways(tmp_path / "home", f"sqlite:///{at_once}", f"sqlite:///{step_by_step}")
    made, expected = describe(at_once), describe(step_by_step)
    assert made.keys() == expected.keys()
    assert {name: made[name] for name in made if made[name] != expected[name]} == {}
    triggers = [name for kind, name in made if kind == "trigger"]
    assert {"audit_event_no_update", "registry_modelversion_sealed", "reviews_reviewdecision_kept"} <= set(triggers)
    assert count_rows(at_once) == count_rows(step_by_step), "no migration writes rows that are left out at once"
    assert migrations(at_once) == migrations(step_by_step)


def describe(database: Path) -> dict[tuple[str, str], Any]:
    """Return every table, index and trigger by kind and name; SQLite numbers a table's own indexes by their place."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall()
    return {(kind, name): (table, normalised(kind, sql)) for kind, name, table, sql in rows}


def normalised(kind: str, sql: str) -> Any:
    """Return a table's columns and constraints in the order of their names: altering a table moves them."""
    text = " ".join(sql.split())
    if kind != "table":
        return text
    head, _, body = text.partition("(")
    return head, sorted(re.split(r", (?=\"\w+\" [a-z]|CONSTRAINT )", body.removesuffix(")")))


def count_rows(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
            for table in tables
            if table != "sqlite_sequence"
        }


def migrations(database: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT app, name FROM django_migrations ORDER BY app, name").fetchall()
