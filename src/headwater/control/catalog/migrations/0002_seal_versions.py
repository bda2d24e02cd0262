"""Seal contract versions that are no drafts, and endpoint revisions."""

from django.db import migrations

from headwater.control.kit.sealed_tables import Seal, SealTables

SEALS = [
    Seal(
        "catalog_contractversion",
        ("dataset_id", "number", "version", "spec", "spec_sha256", "source"),
        unless="OLD.state = 'draft'",
    ),
    Seal("catalog_endpointrevision", ("endpoint_id", "number", "spec", "spec_sha256", "source")),
]


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [SealTables(*SEALS)]
