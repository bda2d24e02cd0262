"""Seal what tasks are about, every decision and every form."""

from django.db import migrations

from headwater.control.kit.sealed_tables import Seal, SealTables

SEALS = [
    Seal(
        "reviews_reviewtask",
        (
            "org_id",
            "created_at",
            "queue_id",
            "environment_id",
            "form_id",
            "dedupe_key",
            "title",
            "subject",
            "payload",
            "payload_sha256",
            "authors",
        ),
    ),
    Seal(
        "reviews_reviewdecision",
        (
            "org_id",
            "created_at",
            "task_id",
            "form_id",
            "reviewer_id",
            "reviewer_label",
            "verdict",
            "answers",
            "changes",
            "comment",
            "supersedes_id",
        ),
    ),
    Seal("reviews_reviewform", ("org_id", "created_at", "queue_id", "number", "spec", "spec_sha256")),
]


class Migration(migrations.Migration):
    dependencies = [("reviews", "0001_initial")]
    operations = [SealTables(*SEALS)]
