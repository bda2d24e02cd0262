"""The process that draws: reads specifications from its standard input, which is a socket, and answers with images.

It holds a JavaScript engine of some 90 MB, which is why nobody else does. It ends when its parent does, when nobody
has asked for a while, after so many images, and by an alarm of the kernel's when one takes too long, whatever it is
busy with. What it draws may come from anybody, so it gives up the network, all files but the installed ones, and more
memory than a chart needs, before it reads the first request.
"""

from __future__ import annotations

import base64
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import headwater
from headwater.engines.charts.wire import Severed, receive, send
from headwater.engines.query.confinement import (
    die_with_parent,
    drop_capabilities,
    restrict_files,
)

_NOWHERE: Final = ["https://nowhere.invalid/"]
"""Where specifications may load data from: they bring their own."""
_NICENESS: Final = 10
IMAGES: Final = 500
"""After so many it makes room for a fresh process: a JavaScript engine grows with time."""
_DATA_BYTES: Final = 3 << 30
_MOST_FILES: Final = 256
_SYSTEM: Final = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc",
    "/opt",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/dev/urandom",
    "/dev/null",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
)
"""Libraries, fonts, the time zones, and what the engine asks about the machine."""


def main(idle_seconds: float, limit_seconds: int) -> None:
    """Serve the socket until it ends or nobody asks."""
    os.nice(_NICENESS)
    confine()
    connection = socket.socket(fileno=os.dup(0))
    for _ in range(IMAGES):
        if not select.select([connection], [], [], idle_seconds)[0]:
            return
        try:
            request = receive(connection)
            signal.alarm(limit_seconds)
            reply = _answer(request)
            signal.alarm(0)
            send(connection, reply)
        except Severed:
            return


def confine() -> str | None:
    """Give up what drawing does not need, for good; return why files and network stay open where they do."""
    die_with_parent()
    drop_capabilities()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    # Not the address space: the engine reserves many times what it uses.
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    own = Path(headwater.__file__).parents[1]
    roots = {Path(sys.prefix), Path(sys.base_prefix), own, *(Path(one) for one in sys.path if one)}
    return restrict_files([*roots, *map(Path, _SYSTEM)])


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    # Loaded when first asked, so that the alarm watches over that too.
    import vl_convert  # noqa: PLC0415

    try:
        if "script" in request:
            return {"script": vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")}
        if "svg" in request:
            png = vl_convert.svg_to_png(request["svg"], scale=request["scale"])
            return {"png": base64.b64encode(png).decode()}
        return {"svg": vl_convert.vegalite_to_svg(request["spec"], allowed_base_urls=_NOWHERE)}
    except Exception as error:  # noqa: BLE001 - whatever the engine says about this image, the next may be fine
        return {"error": str(error)[:500]}


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
