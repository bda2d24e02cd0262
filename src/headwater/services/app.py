"""The composition root of the data plane: which engines and services one process runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.lake import open_lake
from headwater.services.kit.application import compose
from headwater.services.kit.asgi import Door
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import Service

SERVICES: Final = ("ingest", "query", "inference", "features", "flags", "custom")


def create_app(settings: Settings, only: Sequence[str] | None = None) -> Door:
    """Return the ASGI application of a services process.

    Args:
        settings: the settings; the home is prepared if it is new.
        only: which of ``SERVICES`` to run; None means all.

    Raises:
        HeadwaterError: ``setting_invalid`` for a service that does not exist, or whatever makes the home unusable.
    """
    names = check_services(only)
    Home(settings.home).prepare()
    runtime = ProcessRuntime(settings, journal=open_journal(settings), lake=open_lake(settings))
    try:
        return compose(runtime, [_create(name, runtime) for name in names])
    except BaseException:
        runtime.close()
        raise


def check_services(only: Sequence[str] | None) -> tuple[str, ...]:
    """Return the services to run, in the order of ``SERVICES``; raises ``setting_invalid`` for an unknown one."""
    unknown = sorted(set(only or ()) - set(SERVICES))
    if unknown:
        raise HeadwaterError(
            "setting_invalid", f"there is no service {unknown[0]!r}", hint=f"choose from {', '.join(SERVICES)}"
        )
    return tuple(name for name in SERVICES if not only or name in only)


def _create(name: str, runtime: ProcessRuntime) -> Service:
    # Imported by name, so that a process that runs one service does not carry the engines of the others.
    service: Service = importlib.import_module(f"headwater.services.{name}").create(runtime)
    return service
