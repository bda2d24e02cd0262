"""Seal all that a version is now, and what happened: approvals, moved aliases, rollouts.

Adding columns made the table of versions anew on SQLite, without the triggers it had.
"""

from django.db import migrations

from headwater.control.kit.sealed_tables import Seal, SealTables

_BY = ("by_id", "by_label", "reason", "org_id", "created_at")
SEALS = [
    Seal(
        "registry_modelversion",
        (
            "model_id",
            "number",
            "framework",
            "artifact_sha256",
            "artifact_bytes",
            "inputs",
            "outputs",
            "options",
            "features",
            "examples",
            "metrics",
            "training",
            "license",
            "card",
            "profile_sha256",
            "memory_bytes",
            "timeout_seconds",
            "limits",
            "pushed_by",
            "pushed_by_label",
            "spec_sha256",
            "source",
        ),
    ),
    Seal("registry_approval", ("version_id", "overridden", *_BY)),
    Seal("registry_aliasmove", ("model_id", "name", "version_id", "before_id", *_BY)),
    Seal(
        "registry_rollout",
        ("environment_id", "model_id", "number", "cause", "champion_id", "routes", "rules", "declared", *_BY),
    ),
]


class Migration(migrations.Migration):
    dependencies = [("registry", "0004_find_rollouts")]
    operations = [SealTables(*SEALS)]
