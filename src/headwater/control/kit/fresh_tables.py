"""The tables of an empty database: made as the last migration leaves them, at once and in one transaction.

A migration changes what an older release left; an empty database has nothing to change. What the migrations would have
made is exactly what is made here: the tables, the seals that stand after the last of them, and the note that all of
them are applied, so that later releases go on from there. Migrations that only move rows have none to move.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from headwater.control.kit.sealed_tables import standing_seals


def is_fresh(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the database has no table at all, ours or anybody's."""
    return not connection.introspection.table_names()


def lay_tables(connection: BaseDatabaseWrapper, *, except_for: list[str]) -> None:
    """Make the tables of every installed app but ``except_for`` (names), all or none of them.

    Those apps are a project's own: their migrations may write first rows, so they run one by one afterwards.
    """
    executor = MigrationExecutor(connection)
    loader, row = executor.loader, executor.recorder.Migration
    own = {app.label for app in apps.get_app_configs() if app.name in except_for}
    laid = loader.migrated_apps - own
    # The whole plan from nothing, in the order in which it would run.
    plan = executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True)
    migrations = [migration for migration, _ in plan if migration.app_label in laid]
    models: list[Any] = loader.project_state().apps.get_models()
    with connection.schema_editor() as editor:
        for model in models:
            if model._meta.app_label in laid and model._meta.can_migrate(connection):
                editor.create_model(model)
        editor.create_model(row)
        for seal in standing_seals(migrations):
            seal.install(editor)
        notes: list[Any] = [row(app=migration.app_label, name=migration.name) for migration in migrations]
        executor.recorder.migration_qs.bulk_create(notes)
