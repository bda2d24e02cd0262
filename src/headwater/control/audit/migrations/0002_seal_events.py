"""Let the database itself refuse to change or delete an audit event."""

from django.db import migrations

from headwater.control.kit.sealed_tables import AppendOnly, SealTables


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [SealTables(AppendOnly("audit_auditevent", "audit_event", "audit events"))]
