"""Seal the artifact and signature of every model version."""

from typing import Any

from django.db import migrations

from headwater.control.catalog.sealing import Seal

SEALS = [
    Seal(
        "registry_modelversion",
        (
            "model_id",
            "number",
            "framework",
            "artifact_sha256",
            "inputs",
            "outputs",
            "metrics",
            "spec_sha256",
            "source",
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
    dependencies = [("registry", "0001_initial")]
    operations = [migrations.RunPython(seal, unseal)]
