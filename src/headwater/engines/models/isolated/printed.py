"""What models print becomes lines of the service's log, so many a second and no more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Final

from headwater.core.logging import get_logger

MAX_LINES_A_SECOND: Final = 50
MAX_LINE_BYTES: Final = 2_000
_READ_BYTES: Final = 1 << 16

_log = get_logger(__name__)


def follow_output(descriptor: int, **labels: str | int) -> None:
    """Log each line that comes through a pipe with ``labels``, in a thread that ends when the pipe does."""
    threading.Thread(target=_follow, args=(descriptor, labels), name="model-output", daemon=True).start()


def _follow(descriptor: int, labels: dict[str, str | int]) -> None:
    second, shown, hidden = 0, 0, 0
    try:
        for line in _lines(descriptor):
            now = int(time.monotonic())
            if now != second:
                if hidden:
                    _log.warning("model_printed_too_much", lines_hidden=hidden, **labels)
                second, shown, hidden = now, 0, 0
            if shown >= MAX_LINES_A_SECOND:
                hidden += 1
                continue
            shown += 1
            _log.info("model_printed", line=line, **labels)
    finally:
        os.close(descriptor)
    if hidden:
        _log.warning("model_printed_too_much", lines_hidden=hidden, **labels)


def _lines(descriptor: int) -> Iterator[str]:
    """Yield lines, the rest of very long ones cut off."""
    rest = b""
    while data := os.read(descriptor, _READ_BYTES):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            if line.strip():
                yield line[:MAX_LINE_BYTES].decode(errors="replace").rstrip()
        rest = rest[:MAX_LINE_BYTES]
    if rest.strip():
        yield rest[:MAX_LINE_BYTES].decode(errors="replace").rstrip()
