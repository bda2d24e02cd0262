"""The values of tensors, from JSON and bytes into arrays and back."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType
from numpy.typing import NDArray

from headwater.core.errors import HeadwaterError

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BYTES: Final = "BYTES"
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH: Final = struct.Struct("<I")
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Values = NDArray[Any] | Sequence[Any]


class RawTensor(msgspec.Struct):
    """A tensor as the JSON has it."""

    name: str
    shape: list[int]
    datatype: str
    data: Raw | UnsetType = UNSET
    parameters: dict[str, Any] | None = None


_decoders: Final[Mapping[str, Any]] = {
    kind: msgspec.json.Decoder(list[item | None]).decode  # type: ignore[valid-type] # made at run time
    for kind, item in (("f", float), ("i", int), ("u", int), ("b", bool), (BYTES, str))
}
_decode_any: Final = msgspec.json.Decoder(list[Any]).decode


def from_bytes(tensor: RawTensor, data: memoryview, count: int) -> Values:
    """Return the values of a tensor that came as bytes; raises ``input_invalid`` where they are not its own."""
    if tensor.datatype == BYTES:
        return _read_texts(tensor, data, count)
    dtype = DTYPES[tensor.datatype]
    if len(data) != count * dtype.itemsize:
        raise HeadwaterError(
            "input_invalid",
            f"input {tensor.name!r}: {len(data)} bytes are not the {count * dtype.itemsize} of"
            f" {tensor.datatype} {tensor.shape}",
        )
    if tensor.datatype == "BOOL":
        # Any byte that is not zero is true; a view of it as a boolean would be neither.
        truths: NDArray[np.bool_] = np.frombuffer(data, np.uint8) != 0
        return truths
    return np.frombuffer(data, dtype)


def _read_texts(tensor: RawTensor, data: memoryview, count: int) -> list[str]:
    texts: list[str] = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            break
        try:
            texts.append(str(data[at : at + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise HeadwaterError("input_invalid", f"input {tensor.name!r} row {len(texts)}: not UTF-8") from error
        at += length
    if at != len(data) or len(texts) != count:
        raise HeadwaterError(
            "input_invalid",
            f"input {tensor.name!r}: its bytes are not {count} texts, each behind its length in four bytes",
        )
    return texts


def from_json(tensor: RawTensor, count: int) -> Values:
    """Return the values of a tensor that came as JSON; raises ``input_invalid`` naming the row that is not its type."""
    dtype = DTYPES.get(tensor.datatype)
    kind = BYTES if dtype is None else dtype.kind
    try:
        values = _decoders[kind](tensor.data)
    except UNREADABLE:
        values = _flatten(tensor, kind)
    if len(values) != count:
        raise HeadwaterError(
            "input_invalid",
            f"input {tensor.name!r}: {len(values)} values do not fill the shape {tensor.shape}, which has {count}",
        )
    if dtype is None or None in values:
        return list(values)
    try:
        # Numbers are held as exactly as they were written; whether they fit the model is asked of the signature.
        return np.array(values, np.float64 if kind == "f" else dtype)
    except OverflowError as error:
        row = next(at for at, value in enumerate(values) if not _fits(value, dtype))
        raise HeadwaterError(
            "input_invalid",
            f"input {tensor.name!r} row {row_of(tensor.shape, row)}: {values[row]} is no {tensor.datatype}",
        ) from error


def _flatten(tensor: RawTensor, kind: str) -> list[Any]:
    """Return the values of nested lists, each held against the datatype."""
    try:
        values: list[Any] = _decode_any(tensor.data or b"")
    except UNREADABLE as error:
        raise HeadwaterError("input_invalid", f"input {tensor.name!r}: data must be an array: {error}") from error
    for _axis in tensor.shape[1:]:
        if values and all(isinstance(value, list) for value in values):
            values = list(chain.from_iterable(values))
    wanted = {"f": (int, float), "b": (bool,), BYTES: (str,)}.get(kind, (int,))
    for at, value in enumerate(values):
        is_right = isinstance(value, wanted) and (kind == "b" or not isinstance(value, bool))
        if value is not None and not is_right:
            shown = repr(value[:40]) if isinstance(value, str) else msgspec.json.encode(value).decode()[:40]
            raise HeadwaterError(
                "input_invalid",
                f"input {tensor.name!r} row {row_of(tensor.shape, at)}: {shown} is no {tensor.datatype}",
            )
    return values


def to_bytes(values: NDArray[Any]) -> bytes:
    """Return an array as the bytes of a tensor."""
    if values.dtype.kind not in "OU":
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    encoded = (str(value).encode() for value in values.ravel().tolist())
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def count_of(shape: Sequence[int]) -> int | None:
    """Return how many values a shape has, None for one with negative sizes."""
    count = 1
    for size in shape:
        if size < 0:
            return None
        count *= size
    return count


def row_of(shape: Sequence[int], at: int) -> int:
    """Return the row of a flat position."""
    width = count_of(shape[1:]) or 1
    return at // width


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "b":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def datatype_of(values: NDArray[Any]) -> str:
    """Return the protocol's name of an array's type."""
    dtype = values.dtype
    return BYTES if dtype.kind in "OU" else _NAMES.get(dtype) or _NAMES[dtype.newbyteorder("<")]
