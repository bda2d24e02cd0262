"""Ties a command to its parent, then becomes it: when the parent dies by any means, the kernel ends the command.

Run as a script (``python tether.py <parent pid> <command>…``) with the standard library alone, because it also starts
programs that are not Python. Only Linux has this; elsewhere the next ``headwater up`` ends what was left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_NOT_FOUND: Final = 127


def main(arguments: list[str]) -> None:
    """Set the parent-death signal and execute the command; returns only when the parent is already gone."""
    parent, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            # It died between our start and the call above, so no signal will come.
            return
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main(sys.argv[1:])
