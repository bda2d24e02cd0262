"""What runs on one machine: each process's command, environment and sign of readiness."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from headwater.cli.supervisor import ready
from headwater.cli.supervisor.child import ChildSpec
from headwater.core.home import Home
from headwater.core.settings import Settings

#: A sealer's last pass may write tens of megabytes.
_SEALER_GRACE_SECONDS: Final = 45.0


def own_command(*words: str) -> tuple[str, ...]:
    """Return the command line of a ``headwater`` command, run by this very interpreter."""
    # -P: a folder of the project that happens to be called like a library must not be taken for it.
    return (sys.executable, "-P", "-m", "headwater", *words)


def process_specs(settings: Settings, home: Home) -> Mapping[str, ChildSpec]:
    """Return the processes of ours, by name."""
    environment = settings.to_environment()
    probes = {
        "control": ready.http(settings.control.host, settings.control.port),
        "services": ready.services(settings.services.host, settings.services.port),
        "sealer": ready.fresh_file(home.run / "sealer.json"),
        "worker": ready.fresh_file(home.run / "worker.json"),
    }
    return {
        name: ChildSpec(
            name,
            own_command("serve", name),
            probe,
            environment=environment,
            grace_seconds=_SEALER_GRACE_SECONDS if name == "sealer" else 25.0,
        )
        for name, probe in probes.items()
    }
