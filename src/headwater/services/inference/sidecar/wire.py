"""What travels between a worker and its sidecar: frames of MessagePack behind their length, acknowledgements back.

An *epoch* is a quarter of a second's worth of frames. It is logged, profiled and acknowledged as a whole, and
describes every version it speaks of, so that it can be sent again to a sidecar that knows nothing.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

HEADER: Final = struct.Struct("<I")
MAX_FRAME_BYTES: Final = 256 << 20
_RECEIVE_BYTES: Final = 1 << 20
_BUSY_BYTES: Final = 1 << 17
REST_SECONDS: Final = 0.02


class Hello(msgspec.Struct, array_like=True, tag="hello"):
    """The first frame of a connection.

    Attributes:
        writer: names the worker, for as long as it lives.
        resent_through: epochs up to this one may have been written by a sidecar that is gone.
    """

    writer: str
    resent_through: int


class Described(msgspec.Struct, array_like=True, frozen=True):
    """A model version with the rules of its log. ``features`` holds (field, view, feature); ``config`` a number."""

    environment_id: str
    model: str
    number: int
    version_id: str
    config: int
    inputs: dict[str, Any]
    outputs: list[dict[str, Any]]
    features: list[tuple[str, str, str]]
    profile_sha256: str | None
    sample_bps: int
    redact: list[str]


class Output(msgspec.Struct, array_like=True, gc=False):
    """One output of the rows of a group: raw bytes of an array, or values where these are objects."""

    dtype: str
    shape: list[int]
    data: bytes | None
    values: list[Any] | None = None


class Group(msgspec.Struct, array_like=True, gc=False):
    """Requests that one version answered. Lists have an element a request, or a row where they say so.

    Attributes:
        version: the place of the version among those that the epoch described so far.
        counts: rows of each request.
        ids: prediction ids, by row.
        routes: one alone where it is the same for all; so with ``principals``.
        matrix: inputs as float64, rows by fields, where the model takes numbers alone.
        rows: values in signature order otherwise, by row.
        features: what was fetched, by row.
        shadow_of: the prediction that was served, by row.
        overrides: what was served in place of outputs, by row.
    """

    version: int
    counts: list[int]
    ids: list[str]
    routes: list[str]
    principals: list[str]
    requests: list[str]
    predicted_at_us: list[int]
    latency_us: list[int]
    matrix: bytes | None
    rows: list[Any] | None
    outputs: list[Output]
    features: list[Any] | None = None
    shadow_of: list[str | None] | None = None
    overrides: list[Any] | None = None


class Failed(msgspec.Struct, array_like=True, gc=False):
    """Requests that a version did not answer, by code."""

    version: int
    code: str
    failed_at_us: int
    count: int


class Frame(msgspec.Struct, array_like=True, tag="frame"):
    """A part of an epoch; the last one ``closes`` it. ``versions`` are described here for the first time in it."""

    epoch: int
    closes: bool
    versions: list[msgspec.Raw]
    groups: list[Group]
    failures: list[Failed]


class Ack(msgspec.Struct, array_like=True):
    """What the sidecar says: the last epoch that is durable, what became of its rows by model, what is wrong."""

    epoch: int
    logged: dict[str, int] = {}
    dropped: dict[str, int] = {}
    problem: str | None = None


_encoder: Final = msgspec.msgpack.Encoder()
_read_message: Final = msgspec.msgpack.Decoder(Hello | Frame)
_read_ack: Final = msgspec.msgpack.Decoder(Ack)
read_version: Final = msgspec.msgpack.Decoder(Described).decode


def pack(message: Hello | Frame | Ack) -> bytearray:
    """Return a message with its length in front."""
    buffer = bytearray(HEADER.size)
    _encoder.encode_into(message, buffer, HEADER.size)
    HEADER.pack_into(buffer, 0, len(buffer) - HEADER.size)
    return buffer


def raw_version(described: Described) -> msgspec.Raw:
    """Return a version as ``Frame.versions`` holds it."""
    return msgspec.Raw(_encoder.encode(described))


def messages(connection: socket.socket) -> Iterator[list[Hello | Frame]]:
    """Return what comes over a blocking connection until its end, all that is there at once.

    Between two looks it rests, if little came: a frame each few milliseconds is dear to wait for, one by one. What is
    cut off at the end is left out.
    """
    pieces = Pieces()
    buffer = bytearray(_RECEIVE_BYTES)
    view = memoryview(buffer)
    while size := connection.recv_into(buffer):
        found: list[Hello | Frame] = []
        try:
            found.extend(map(_read_message.decode, pieces.feed(view[:size])))
        finally:  # what came before nonsense is not to blame for it
            if found:
                yield found
        if size < _BUSY_BYTES:
            time.sleep(REST_SECONDS)


class AckReader:
    """Acknowledgements out of the pieces that a socket gives."""

    def __init__(self) -> None:
        """Begin empty."""
        self._pieces = Pieces()

    def feed(self, data: bytes) -> list[Ack]:
        """Return the acknowledgements that are complete now."""
        return [_read_ack.decode(payload) for payload in self._pieces.feed(data)]


class Pieces:
    """Payloads out of the pieces that a socket gives."""

    def __init__(self) -> None:
        """Begin empty."""
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Return the payloads that are complete now."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            (length,) = HEADER.unpack_from(self._buffer, start)
            if length > MAX_FRAME_BYTES:
                raise ConnectionError(f"a frame claims {length} bytes")
            stop = start + HEADER.size + length
            if stop > len(self._buffer):
                break
            yield bytes(memoryview(self._buffer)[start + HEADER.size : stop])
            start = stop
        if start:
            del self._buffer[:start]
