"""Drop when a key was last used: the data plane checks keys, and nobody ever wrote it down."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("access", "0002_initial")]
    operations = [migrations.RemoveField(model_name="apikey", name="last_used_at")]
