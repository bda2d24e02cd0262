"""What travels between a service and a worker: frames of a length, a kind, a number and a count of rows.

The service sends one ``JOB``, then runs (``MATRIX``, ``COLUMNS``), ``PING`` and ``MEASURE``. The worker answers the
job with ``READY`` or ``FAILED``, and everything else in the order it came, under its number, with ``OUTPUTS``,
``FAILED``, ``PONG`` or ``MEASURED``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

HEADER: Final = struct.Struct("<IBII")
MAX_PAYLOAD: Final = 256 << 20
READ_BYTES: Final = 256 << 10
_PART: Final = struct.Struct("<cI")
_CODES: Final[dict[str, bytes]] = {
    name: bytes([65 + at])
    for at, name in enumerate(
        ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
    )
}
_DTYPES: Final = {code: np.dtype(name) for name, code in _CODES.items()}
_TEXTS: Final = b"O"
_encode = msgspec.msgpack.encode
_decode_texts = msgspec.msgpack.Decoder(list[Any]).decode


class Kind(IntEnum):
    """What a frame carries."""

    JOB = 1  # msgpack
    MATRIX = 2  # the matrix's own bytes
    COLUMNS = 3  # msgpack: a list of columns
    PING = 4
    MEASURE = 5
    READY = 11  # msgpack
    OUTPUTS = 12  # see pack_outputs
    FAILED = 13  # msgpack: code, detail, hint, and whether the worker ends
    PONG = 14
    MEASURED = 15  # microseconds, a double


Frame = tuple[int, int, int, memoryview]
"""Kind, number, rows and payload."""


class BrokenFrames(Exception):
    """What came cannot be frames of the other side."""


def pack(kind: Kind, number: int = 0, rows: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return HEADER.pack(len(payload), kind, number, rows) + payload


class FrameReader:
    """Puts frames together from whatever pieces a socket gives."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rest = bytearray()
        self._needed = HEADER.size

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that ``data`` completes; raises ``BrokenFrames`` for one that is too long."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest = bytearray()
        at, size = 0, len(data)
        view = memoryview(data)
        while size - at >= HEADER.size:
            length, kind, number, rows = HEADER.unpack_from(data, at)
            if length > MAX_PAYLOAD:
                raise BrokenFrames(f"a frame of {length} bytes")
            self._needed = HEADER.size + length
            end = at + self._needed
            if end > size:
                break
            yield kind, number, rows, view[at + HEADER.size : end]
            at = end
        if at < size:
            self._rest += view[at:]
            if len(self._rest) < HEADER.size:
                self._needed = HEADER.size


def pack_columns(columns: Sequence[Sequence[Any]]) -> bytes:
    """Return the payload of values by field."""
    return _encode(columns)


def unpack_columns(payload: memoryview) -> list[list[Any]]:
    """Return what ``pack_columns`` was given."""
    columns: list[list[Any]] = _decode_texts(payload)
    return columns


def pack_outputs(arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return the payload of one run's outputs; their shapes are known to the other side."""
    parts: list[bytes] = []
    for array in arrays:
        code = _CODES.get(array.dtype.name)
        data = _encode(array.ravel().tolist()) if code is None else array.tobytes()
        parts += (_PART.pack(code or _TEXTS, len(data)), data)
    return b"".join(parts)


def unpack_outputs(payload: memoryview, rows: int, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[Any]]:
    """Return an array of ``rows`` and its shape for each output; raises ``BrokenFrames`` if that is not there."""
    arrays: list[NDArray[Any]] = []
    at = 0
    try:
        for shape in shapes:
            code, length = _PART.unpack_from(payload, at)
            at += _PART.size
            data = payload[at : at + length]
            at += length
            array = _texts(data) if code == _TEXTS else np.frombuffer(data, _DTYPES[code])
            arrays.append(array.reshape(rows, *shape) if shape else _of_length(array, rows))
    except (struct.error, ValueError, KeyError, msgspec.MsgspecError) as error:
        raise BrokenFrames(f"outputs that cannot be read: {error}") from error
    if at != len(payload):
        raise BrokenFrames("more outputs than there are")
    return arrays


def _texts(data: memoryview) -> NDArray[Any]:
    values = _decode_texts(data)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _of_length(array: NDArray[Any], rows: int) -> NDArray[Any]:
    if len(array) != rows:
        raise ValueError(f"{len(array)} values for {rows} rows")
    return array
