"""Count what waits in a queue, and what is not delivered, without reading the queue's whole history."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reviews", "0003_find_tasks")]

    operations = [
        migrations.RemoveIndex(model_name="reviewtask", name="review_by_state"),
        migrations.RemoveIndex(model_name="reviewtask", name="review_by_delivery"),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                fields=["environment", "state", "queue", "due_at", "created_at"], name="review_standing"
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(fields=["environment", "delivery", "queue"], name="review_undelivered"),
        ),
    ]
