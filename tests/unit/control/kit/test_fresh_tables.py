"""When an empty database gets its tables at once, and that it gets all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import load_backend

from headwater.control import configuration
from headwater.control.audit.models import AuditEvent
from headwater.control.kit import fresh_tables
from headwater.control.kit.database import database_settings
from headwater.control.kit.fresh_tables import is_fresh, lay_tables
from headwater.control.kit.sealed_tables import AppendOnly, BreakSeals, Seal, SealTables, standing_seals


@pytest.fixture
def empty(db: None, tmp_path: Path) -> Iterator[BaseDatabaseWrapper]:
    """A connection to an SQLite database that is not there yet."""
    entry = database_settings(f"sqlite:///{tmp_path / 'empty.sqlite3'}", configuration.home())
    complete = connections.configure_settings({"default": {}, "empty": entry})["empty"]
    made: BaseDatabaseWrapper = load_backend(entry["ENGINE"]).DatabaseWrapper(complete, "empty")
    connections["empty"] = made
    yield made
    made.close()
    del connections["empty"]


def test_an_empty_database_has_everything_applied_at_once(
    empty: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no migration needs to run")

    monkeypatch.setattr(MigrationExecutor, "apply_migration", refuse)
    call_command("migrate", database="empty", verbosity=0)
    executor = MigrationExecutor(empty)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
    assert set(empty.introspection.table_names()) == set(connection.introspection.table_names())
    assert AuditEvent.objects.using("empty").count() == 0


def test_what_breaks_off_leaves_the_database_empty(empty: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_migrations: object) -> list[Seal]:
        raise KeyboardInterrupt

    monkeypatch.setattr(fresh_tables, "standing_seals", break_off)
    with pytest.raises(KeyboardInterrupt):
        lay_tables(empty, except_for=[])
    assert is_fresh(empty)


def test_a_database_that_holds_anything_is_migrated_step_by_step(
    empty: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrive(*_: object, **__: object) -> None:
        raise StopIteration

    with empty.cursor() as cursor:
        cursor.execute("CREATE TABLE somebody_elses (id INTEGER)")
    monkeypatch.setattr(MigrationExecutor, "apply_migration", arrive)
    with pytest.raises(StopIteration):
        call_command("migrate", database="empty", verbosity=0)
    assert set(empty.introspection.table_names()) == {"somebody_elses", "django_migrations"}


def test_a_migration_of_one_app_stays_one(empty: BaseDatabaseWrapper) -> None:
    call_command("migrate", "kit", database="empty", verbosity=0)
    assert set(empty.introspection.table_names()) == {"django_migrations", "kit_outbox"}


def test_the_newest_word_on_a_table_is_its_seal() -> None:
    class Step:
        def __init__(self, *operations: SealTables) -> None:
            self.operations = operations

    first, second = Seal("a", ("x",)), Seal("a", ("x", "y"))
    other, gone = AppendOnly("b", "b", "rows"), Seal("c", ("z",))
    steps: list[object] = [
        Step(SealTables(first, gone)),
        Step(SealTables(other)),
        Step(BreakSeals(first, gone)),
        Step(SealTables(second)),
    ]
    assert standing_seals(steps) == [other, second]  # type: ignore[arg-type]
    assert SealTables(first, gone).describe() == "Seal a, c"
    assert BreakSeals(first).describe() == "Break the seals of a"
