from django.db import migrations, models


class Migration(migrations.Migration):
    """When the quality of a version was last judged."""

    dependencies = [("monitoring", "0001_initial")]

    operations = [
        migrations.AddField(model_name="versionwatch", name="quality_judged_at", field=models.DateTimeField(null=True)),
    ]
