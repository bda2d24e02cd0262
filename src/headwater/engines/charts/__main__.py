"""The process that draws: reads specifications from its standard input, which is a socket, and answers with images.

It holds a JavaScript engine of some 90 MB, which is why nobody else does. It ends when its parent does, when nobody
has asked for a while, and by an alarm of the kernel's when one image takes too long, whatever it is busy with.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import socket
import sys
from typing import Any, Final

from headwater.engines.charts.wire import Severed, receive, send

_NOWHERE: Final = ["https://nowhere.invalid/"]
"""Where specifications may load data from: they bring their own."""
_NICENESS: Final = 10


def main(idle_seconds: float, limit_seconds: int) -> None:
    """Serve the socket until it ends or nobody asks."""
    os.nice(_NICENESS)
    connection = socket.socket(fileno=os.dup(0))
    while select.select([connection], [], [], idle_seconds)[0]:
        try:
            request = receive(connection)
            signal.alarm(limit_seconds)
            reply = _answer(request)
            signal.alarm(0)
            send(connection, reply)
        except Severed:
            return


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    # Loaded when first asked, so that the alarm watches over that too.
    import vl_convert  # noqa: PLC0415

    try:
        if "svg" in request:
            png = vl_convert.svg_to_png(request["svg"], scale=request["scale"])
            return {"png": base64.b64encode(png).decode()}
        return {"svg": vl_convert.vegalite_to_svg(request["spec"], allowed_base_urls=_NOWHERE)}
    except Exception as error:  # noqa: BLE001 - whatever the engine says about this image, the next may be fine
        return {"error": str(error)[:500]}


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
