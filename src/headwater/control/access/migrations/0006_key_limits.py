import headwater.control.access.models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0005_archived_roles"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="limits",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text=(
                    "Bounds on the key's queries, such as requests_per_second and scanned_bytes_per_day; empty: none."
                ),
                validators=[headwater.control.access.models.check_key_limits],
            ),
        ),
    ]
