"""Seal what was asked for: an override is never changed into another."""

from django.db import migrations

from headwater.control.kit.sealed_tables import Seal, SealTables

SEALS = [
    Seal(
        "overrides_override",
        (
            "org_id",
            "created_at",
            "environment_id",
            "target_kind",
            "target",
            "output",
            "by",
            "key",
            "key_text",
            "value",
            "reason",
            "valid_from",
            "valid_until",
            "requested_by_id",
            "requested_by_label",
            "origin",
        ),
    ),
]


class Migration(migrations.Migration):
    dependencies = [("overrides", "0001_initial")]
    operations = [SealTables(*SEALS)]
