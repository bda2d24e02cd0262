"""What travels between a service and its sandboxed worker: frames of a kind, a length and a payload.

A service sends one ``REQUEST`` at a time. The worker answers with ``READY`` once after its start, and for each request
with ``ROWS`` (a part of an Arrow IPC stream) any number of times, then ``DONE`` or ``ERROR``.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import BinaryIO, Final

HEADER: Final = struct.Struct("<BI")
MAX_PAYLOAD: Final = 64 << 20


class Kind(IntEnum):
    """What a frame carries."""

    REQUEST = 1  # JSON
    READY = 2  # JSON
    ROWS = 3  # bytes
    DONE = 4  # JSON
    ERROR = 5  # JSON


def pack(kind: Kind, payload: bytes) -> bytes:
    """Return a frame."""
    return HEADER.pack(kind, len(payload)) + payload


def read_frame(source: BinaryIO) -> tuple[Kind, bytes] | None:
    """Return the next frame of a blocking file; None at its end."""
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, length = HEADER.unpack(header)
    payload = source.read(length)
    return (Kind(kind), payload) if len(payload) == length else None
