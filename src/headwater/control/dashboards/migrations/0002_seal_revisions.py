"""Seal the revisions of dashboards."""

from django.db import migrations

from headwater.control.kit.sealed_tables import Seal, SealTables

SEALS = [
    Seal("dashboards_dashboardrevision", ("dashboard_id", "number", "spec", "spec_sha256", "note", "saved_by")),
]


class Migration(migrations.Migration):
    dependencies = [("dashboards", "0001_initial")]
    operations = [SealTables(*SEALS)]
