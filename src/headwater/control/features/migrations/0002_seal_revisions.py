"""Seal feature view revisions."""

from typing import Any

from django.db import migrations

from headwater.control.catalog.sealing import Seal

SEALS = [Seal("features_featureviewrevision", ("view_id", "number", "spec", "spec_sha256", "source"))]


def seal(_apps: Any, schema_editor: Any) -> None:
    for item in SEALS:
        item.install(schema_editor)


def unseal(_apps: Any, schema_editor: Any) -> None:
    for item in SEALS:
        item.remove(schema_editor)


class Migration(migrations.Migration):
    dependencies = [("features", "0001_initial")]
    operations = [migrations.RunPython(seal, unseal)]
