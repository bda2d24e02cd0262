"""The control database made both ways, at once and migration by migration, to be held against each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from headwater.core.settings import load_settings
from headwater.control import bootstrap
home, at_once, step_by_step = sys.argv[1:]
settings = load_settings({"home": Path(home), "database.url": at_once}, environ={}, file=Path("/nonexistent"))
bootstrap.prepare(settings)
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from headwater.control.kit.database import database_settings
connection.close()
connection.settings_dict["NAME"] = database_settings(step_by_step, None)["NAME"]
executor = MigrationExecutor(connection)
executor.migrate(executor.loader.graph.leaf_nodes())
call_command("migrate", verbosity=0)
connection.close()
"""


def make_both_ways(home: Path, at_once: str, step_by_step: str) -> None:
    """Make the databases behind these two URLs of one kind: as a first start does, and by every migration there is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(home), at_once, step_by_step],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
