"""Seal the artifact and signature of every model version."""

from django.db import migrations

from headwater.control.kit.sealed_tables import Seal, SealTables

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


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_initial")]
    operations = [SealTables(*SEALS)]
