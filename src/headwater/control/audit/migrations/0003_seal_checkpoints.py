"""Signed checkpoints of the chains, which the database itself refuses to change or delete."""

from django.db import migrations, models

from headwater.control.kit.sealed_tables import AppendOnly, SealTables


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
        SealTables(AppendOnly("audit_auditcheckpoint", "audit_checkpoint", "audit checkpoints")),
    ]
