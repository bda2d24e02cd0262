"""Users made before addresses had to be proved were made by operators, who vouched for them."""

from __future__ import annotations

from typing import Any

from django.db import migrations


def vouch(apps: Any, _editor: Any) -> None:
    """Give every user without one the address they sign in with, as proved."""
    user_model = apps.get_model("identity", "User")
    address_model = apps.get_model("account", "EmailAddress")
    known = set(address_model.objects.values_list("user_id", flat=True))
    address_model.objects.bulk_create(
        [
            address_model(user_id=key, email=email.lower(), primary=True, verified=True)
            for key, email in user_model.objects.values_list("pk", "email")
            if key not in known
        ]
    )


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0003_invitations"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations = [migrations.RunPython(vouch, migrations.RunPython.noop, elidable=True)]
