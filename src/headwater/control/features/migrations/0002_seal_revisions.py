"""Seal feature view revisions."""

from django.db import migrations

from headwater.control.kit.sealed_tables import Seal, SealTables

SEALS = [Seal("features_featureviewrevision", ("view_id", "number", "spec", "spec_sha256", "source"))]


class Migration(migrations.Migration):
    dependencies = [("features", "0001_initial")]
    operations = [SealTables(*SEALS)]
