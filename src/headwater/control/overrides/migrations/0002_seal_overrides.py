"""Seal what was asked for: an override is never changed into another."""

from typing import Any

from django.db import migrations

from headwater.control.catalog.sealing import Seal

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


def seal(_apps: Any, schema_editor: Any) -> None:
    for item in SEALS:
        item.install(schema_editor)


def unseal(_apps: Any, schema_editor: Any) -> None:
    for item in SEALS:
        item.remove(schema_editor)


class Migration(migrations.Migration):
    dependencies = [("overrides", "0001_initial")]
    operations = [migrations.RunPython(seal, unseal)]
