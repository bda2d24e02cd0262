"""What goes between a renderer and its process: frames of JSON behind four bytes of length."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Final

MAX_BYTES: Final = 64 << 20
_PREFIX: Final = 4


class Severed(Exception):
    """The other end is gone, or speaks nonsense."""


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send a message.

    Raises:
        Severed: nobody listens any more.
        TimeoutError: it took longer than the socket waits.
    """
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > MAX_BYTES:
        raise Severed(f"a message of {len(body):,} bytes is too large")
    try:
        connection.sendall(len(body).to_bytes(_PREFIX) + body)
    except TimeoutError:
        raise
    except OSError as error:
        raise Severed(str(error)) from error


def receive(connection: socket.socket, *, deadline: float | None = None) -> dict[str, Any]:
    """Return the next message.

    Args:
        connection: a stream.
        deadline: by ``time.monotonic``; None waits for ever.

    Raises:
        Severed: the other end closed the stream, or what came is no message.
        TimeoutError: the deadline has passed.
    """
    size = int.from_bytes(_read(connection, _PREFIX, deadline))
    if size > MAX_BYTES:
        raise Severed(f"a message of {size:,} bytes is too large")
    try:
        message: dict[str, Any] = json.loads(_read(connection, size, deadline))
    except ValueError as error:
        raise Severed(f"no message: {error}") from error
    return message


def _read(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        try:
            part = connection.recv(min(size - len(parts), 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise Severed(str(error)) from error
        if not part:
            raise Severed("the stream ended")
        parts += part
    return bytes(parts)
