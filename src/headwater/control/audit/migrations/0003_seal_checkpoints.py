"""Signed checkpoints of the chains, which the database itself refuses to change or delete."""

from typing import Any

from django.db import migrations, models

SQLITE = [
    """CREATE TRIGGER audit_checkpoint_no_update BEFORE UPDATE ON audit_auditcheckpoint
       BEGIN SELECT RAISE(ABORT, 'audit checkpoints cannot be changed'); END""",
    """CREATE TRIGGER audit_checkpoint_no_delete BEFORE DELETE ON audit_auditcheckpoint
       BEGIN SELECT RAISE(ABORT, 'audit checkpoints cannot be deleted'); END""",
]
SQLITE_REVERSE = ["DROP TRIGGER audit_checkpoint_no_update", "DROP TRIGGER audit_checkpoint_no_delete"]

POSTGRESQL = [
    """CREATE FUNCTION audit_checkpoint_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION 'audit checkpoints cannot be changed or deleted'
             USING ERRCODE = 'integrity_constraint_violation'; END $$""",
    """CREATE TRIGGER audit_checkpoint_sealed BEFORE UPDATE OR DELETE ON audit_auditcheckpoint
       FOR EACH ROW EXECUTE FUNCTION audit_checkpoint_refuse()""",
    """CREATE TRIGGER audit_checkpoint_kept BEFORE TRUNCATE ON audit_auditcheckpoint
       FOR EACH STATEMENT EXECUTE FUNCTION audit_checkpoint_refuse()""",
]
POSTGRESQL_REVERSE = [
    "DROP TRIGGER audit_checkpoint_kept ON audit_auditcheckpoint",
    "DROP TRIGGER audit_checkpoint_sealed ON audit_auditcheckpoint",
    "DROP FUNCTION audit_checkpoint_refuse()",
]


def seal(apps: Any, schema_editor: Any) -> None:
    _run(schema_editor, SQLITE, POSTGRESQL)


def unseal(apps: Any, schema_editor: Any) -> None:
    _run(schema_editor, SQLITE_REVERSE, POSTGRESQL_REVERSE)


def _run(schema_editor: Any, sqlite: list[str], postgresql: list[str]) -> None:
    for statement in sqlite if schema_editor.connection.vendor == "sqlite" else postgresql:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_seal_events")]
    operations = [
        migrations.CreateModel(
            name="AuditCheckpoint",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("org_id", models.UUIDField()),
                ("n", models.PositiveBigIntegerField()),
                ("hash", models.CharField(max_length=64)),
                ("at", models.DateTimeField()),
                ("first", models.PositiveBigIntegerField()),
                ("segment_sha256", models.CharField(max_length=64)),
                ("signature", models.CharField(max_length=100)),
            ],
            options={
                "ordering": ("org_id", "n"),
                "constraints": [models.UniqueConstraint(fields=("org_id", "n"), name="audit_checkpoint_number")],
            },
        ),
        migrations.RunPython(seal, unseal),
    ]
