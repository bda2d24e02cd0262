"""Cases whose rows have outlived their retention."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Name the state; nothing changes in the table."""

    dependencies: ClassVar = [("catalog", "0002_seal_versions")]
    operations: ClassVar = [
        migrations.AlterField(
            "quarantinecase",
            "state",
            models.CharField(
                choices=[
                    ("open", "Open"),
                    ("replayed", "Replayed"),
                    ("discarded", "Discarded"),
                    ("expired", "Expired"),
                ],
                default="open",
                max_length=10,
            ),
        ),
    ]
