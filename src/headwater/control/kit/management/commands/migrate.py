"""Django's ``migrate``, which lays the tables of an empty database at once."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.management.commands import migrate
from django.db import connections

from headwater.control.kit.fresh_tables import is_fresh, lay_tables

_PARTIAL: Final = ("app_label", "fake", "fake_initial", "plan", "check_unapplied", "prune")
"""Options that ask for something else than every table."""


class Command(migrate.Command):
    """Brings the database to this release's tables."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Lay the tables if there are none, then migrate what is left: a project's own apps, or an older database."""
        connection = connections[options["database"]]
        if not any(options[name] for name in _PARTIAL) and is_fresh(connection):
            lay_tables(connection, except_for=settings.OWN_APPS)
        super().handle(*args, **options)
