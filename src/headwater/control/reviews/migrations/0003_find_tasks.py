"""Find the tasks of an environment by how they stand, and those of a queue that are over, without reading them all."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reviews", "0002_seal_reviews")]

    operations = [
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(fields=["queue", "environment", "created_at"], name="review_history"),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(fields=["environment", "state", "due_at"], name="review_by_state"),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(fields=["environment", "delivery"], name="review_by_delivery"),
        ),
    ]
