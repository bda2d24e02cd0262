"""Finds out before anything starts whether a port can be had, and who has it if not."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from headwater.cli.supervisor.processes import name_of
from headwater.core.errors import HeadwaterError

_TCP_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENING: Final = "0A"


def claim_port(host: str, port: int, *, flag: str, variable: str) -> int:
    """Return ``port`` if a server could listen on it now, or a free one when it is 0.

    Raises:
        HeadwaterError: ``port_taken`` naming the port, its holder where that can be told, and the flag to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _explain(error, host, port, flag, variable) from error
        number: int = probe.getsockname()[1]
        return number


def _explain(error: OSError, host: str, port: int, flag: str, variable: str) -> HeadwaterError:
    other = f"choose another with {flag} or {variable}"
    if error.errno == errno.EADDRINUSE:
        return HeadwaterError("port_taken", f"port {port} on {host} is in use{_holder(port)}", hint=other)
    if error.errno == errno.EACCES:
        return HeadwaterError("port_taken", f"port {port} on {host} may not be opened by this user", hint=other)
    return HeadwaterError(
        "setting_invalid",
        f"cannot listen on {host}:{port}: {error.strerror or error}",
        hint="give an address of this machine with --host",
    )


def _holder(port: int) -> str:
    """Return `` by <command> (pid <pid>)`` of who listens on a port, empty when it cannot be told."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return ""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            if any(str(link.readlink()) in sockets for link in process.joinpath("fd").iterdir()):
                return f" by {name_of(int(process.name))!r} (pid {process.name})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in _TCP_TABLES:
        with suppress(OSError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes.add(columns[9])
    return inodes
