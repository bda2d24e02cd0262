"""Requests and replies of the Open Inference Protocol: JSON, with tensors in it or in bytes behind it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import orjson
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
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_UNSUPPORTED: Final = {
    "sequence_id": "sequences of requests are not kept",
    "shared_memory_region": "there is no shared memory with this server",
    "classification": "classification is not done here; take the outputs",
}

D = TypeVar("D")
Values = NDArray[Any] | Sequence[Any]


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Raw | UnsetType = UNSET
    parameters: dict[str, Any] | None = None


class _Floats(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]
    parameters: dict[str, Any] | None = None


class _Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Wanted] | None = None


class _FloatRequest(msgspec.Struct):
    inputs: list[_Floats]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Wanted] | None = None


_decode: Final = msgspec.json.Decoder(_Request).decode
_decode_floats: Final = msgspec.json.Decoder(_FloatRequest).decode
_decoders: Final[Mapping[str, Any]] = {
    kind: msgspec.json.Decoder(list[item | None]).decode  # type: ignore[valid-type] # made at run time
    for kind, item in (("f", float), ("i", int), ("u", int), ("b", bool), (BYTES, str))
}
_decode_any: Final = msgspec.json.Decoder(list[Any]).decode


@dataclass(slots=True)
class Tensor:
    """A named tensor. ``values`` are flat: an array, or a list where they are text or may be null."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Values


@dataclass(slots=True)
class InferRequest:
    """A request as it was read. ``outputs`` says for each wanted output whether it comes as bytes; None wants all."""

    id: str | None
    inputs: Sequence[Tensor]
    parameters: Mapping[str, Any]
    outputs: Sequence[tuple[str, bool]] | None

    @property
    def is_binary(self) -> bool:
        """Return whether outputs that are not named come as bytes."""
        return bool(self.parameters.get("binary_data_output", False))


def read_request(body: bytes, json_length: bytes | None) -> InferRequest:
    """Read a request.

    Args:
        body: the body.
        json_length: the header ``Inference-Header-Content-Length``, where bytes follow the JSON.

    Raises:
        HeadwaterError: ``invalid_header``, ``empty_body``, ``malformed_body`` or ``input_invalid`` naming the tensor.
    """
    if not body:
        raise HeadwaterError("empty_body", "the request has no body")
    if json_length is None:
        floats = _read_floats(body)
        if floats is not None:
            return floats
    head, rest = _split(body, json_length)
    try:
        request = _decode(head)
    except _UNREADABLE as error:
        raise _unreadable(head, error) from error
    parameters = request.parameters or {}
    _refuse_unsupported(parameters, "the request")
    if not request.inputs:
        raise HeadwaterError("input_invalid", "'inputs' is empty")
    tensors: list[Tensor] = []
    for tensor in request.inputs:
        read, rest = _read_tensor(tensor, rest)
        tensors.append(read)
    if len(rest):
        raise HeadwaterError("input_invalid", f"{len(rest)} bytes follow the last tensor")
    return InferRequest(request.id, tensors, parameters, _read_wanted(request.outputs, parameters))


def write_reply(head: Mapping[str, Any], outputs: Sequence[tuple[str, NDArray[Any], bool]]) -> tuple[bytes, int | None]:
    """Return a reply and, where bytes follow its JSON, the length of that.

    Args:
        head: the members before ``outputs``.
        outputs: name, values, and whether they are to be bytes.
    """
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, values, is_binary in outputs:
        item: dict[str, Any] = {"name": name, "datatype": datatype_of(values), "shape": list(values.shape)}
        if is_binary:
            data = _to_bytes(values)
            item["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            item["data"] = (
                values.ravel().tolist() if values.dtype.kind in "OU" else np.ascontiguousarray(values.ravel())
            )
        described.append(item)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((text, *tail)), len(text)) if tail else (text, None)


def datatype_of(values: NDArray[Any]) -> str:
    """Return the protocol's name of an array's type."""
    return BYTES if values.dtype.kind in "OU" else _NAMES[values.dtype.newbyteorder("<")]


def _read_floats(body: bytes) -> InferRequest | None:
    """Return a request whose tensors are all numbers in flat JSON lists of floats; None for any other."""
    try:
        request = _decode_floats(body)
    except _UNREADABLE:
        return None
    if request.parameters or request.outputs or not request.inputs:
        return None
    tensors: list[Tensor] = []
    for tensor in request.inputs:
        dtype = DTYPES.get(tensor.datatype)
        if dtype is None or dtype.kind != "f" or tensor.parameters or _count(tensor.shape) != len(tensor.data):
            return None
        values = np.fromiter(tensor.data, np.float64, len(tensor.data))
        tensors.append(Tensor(tensor.name, tensor.datatype, tensor.shape, values))
    return InferRequest(request.id, tensors, {}, None)


def _split(body: bytes, json_length: bytes | None) -> tuple[bytes, memoryview]:
    if json_length is None:
        return body, memoryview(b"")
    if not json_length.isdigit() or int(json_length[:12]) > len(body):
        raise HeadwaterError(
            "invalid_header",
            f"Inference-Header-Content-Length must be a number of bytes, at most the body's {len(body)}",
        )
    length = int(json_length)
    return body[:length], memoryview(body)[length:]


def _read_tensor(tensor: _Tensor, rest: memoryview) -> tuple[Tensor, memoryview]:
    parameters = tensor.parameters or {}
    _refuse_unsupported(parameters, f"input {tensor.name!r}")
    if tensor.datatype != BYTES and tensor.datatype not in DTYPES:
        known = ", ".join((*DTYPES, BYTES))
        raise HeadwaterError(
            "input_invalid", f"input {tensor.name!r}: there is no datatype {tensor.datatype[:20]!r}, only {known}"
        )
    count = _count(tensor.shape)
    if count is None:
        raise HeadwaterError("input_invalid", f"input {tensor.name!r}: the shape {tensor.shape} is not one of a tensor")
    size = parameters.get("binary_data_size")
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise HeadwaterError(
                "input_invalid",
                f"input {tensor.name!r}: binary_data_size is {size!r}, and {len(rest)} bytes are left behind the JSON",
            )
        values = _from_bytes(tensor, rest[:size], count)
        return Tensor(tensor.name, tensor.datatype, tensor.shape, values), rest[size:]
    if tensor.data is UNSET:
        raise HeadwaterError("input_invalid", f"input {tensor.name!r} has neither data nor binary_data_size")
    return Tensor(tensor.name, tensor.datatype, tensor.shape, _from_json(tensor, count)), rest


def _from_bytes(tensor: _Tensor, data: memoryview, count: int) -> Values:
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


def _read_texts(tensor: _Tensor, data: memoryview, count: int) -> list[str]:
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


def _from_json(tensor: _Tensor, count: int) -> Values:
    dtype = DTYPES.get(tensor.datatype)
    kind = BYTES if dtype is None else dtype.kind
    try:
        values = _decoders[kind](tensor.data)
    except _UNREADABLE:
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
            f"input {tensor.name!r} row {_row(tensor.shape, row)}: {values[row]} is no {tensor.datatype}",
        ) from error


def _flatten(tensor: _Tensor, kind: str) -> list[Any]:
    """Return the values of nested lists, each held against the datatype."""
    try:
        values: list[Any] = _decode_any(tensor.data or b"")
    except _UNREADABLE as error:
        raise HeadwaterError("input_invalid", f"input {tensor.name!r}: data must be an array: {error}") from error
    for _axis in tensor.shape[1:]:
        if values and all(isinstance(value, list) for value in values):
            values = list(chain.from_iterable(values))
    wanted = {"f": (int, float), "b": (bool,), BYTES: (str,)}.get(kind, (int,))
    for at, value in enumerate(values):
        is_right = isinstance(value, wanted) and (kind == "b" or not isinstance(value, bool))
        if value is not None and not is_right:
            shown = str(value)[:40]
            raise HeadwaterError(
                "input_invalid",
                f"input {tensor.name!r} row {_row(tensor.shape, at)}: {shown!r} is no {tensor.datatype}",
            )
    return values


def _read_wanted(wanted: Sequence[_Wanted] | None, parameters: Mapping[str, Any]) -> list[tuple[str, bool]] | None:
    if not wanted:
        return None
    is_binary = bool(parameters.get("binary_data_output", False))
    found: list[tuple[str, bool]] = []
    for output in wanted:
        own = output.parameters or {}
        _refuse_unsupported(own, f"output {output.name!r}")
        found.append((output.name, bool(own.get("binary_data", is_binary))))
    return found


def _refuse_unsupported(parameters: Mapping[str, Any], where: str) -> None:
    for name, reason in _UNSUPPORTED.items():
        if parameters.get(name):
            raise HeadwaterError("input_invalid", f"{where}: the parameter {name!r} is not supported: {reason}")


def _unreadable(head: bytes, error: Exception) -> HeadwaterError:
    if (place := _find_constant(head)) is not None:
        return HeadwaterError("input_invalid", f"{place} is not a JSON number, and no input may be one")
    if isinstance(error, msgspec.ValidationError):
        return HeadwaterError("input_invalid", f"the request is not as the protocol has it: {error}")
    return HeadwaterError("malformed_body", f"the body is not JSON: {error}")


class _NotJson:
    """A literal such as NaN, which JSON does not have."""

    def __init__(self, literal: str) -> None:
        self.literal = literal


def _find_constant(head: bytes) -> str | None:
    """Return where NaN or Infinity was written: the tensor, the row, the literal."""
    try:
        inputs = json.loads(head, parse_constant=_NotJson)["inputs"]
        for tensor in inputs:
            values = tensor["data"]
            for _axis in tensor["shape"][1:]:
                if all(isinstance(value, list) for value in values):
                    values = list(chain.from_iterable(values))
            for at, value in enumerate(values):
                if isinstance(value, _NotJson):
                    return f"input {tensor['name']!r} row {_row(tensor['shape'], at)}: {value.literal}"
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        return None  # it is no request at all
    return None


def _to_bytes(values: NDArray[Any]) -> bytes:
    if values.dtype.kind not in "OU":
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    encoded = (str(value).encode() for value in values.ravel().tolist())
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def _count(shape: Sequence[int]) -> int | None:
    """Return how many values a shape has, None for one with negative sizes."""
    count = 1
    for size in shape:
        if size < 0:
            return None
        count *= size
    return count


def _row(shape: Sequence[int], at: int) -> int:
    """Return the row of a flat position."""
    width = _count(shape[1:]) or 1
    return at // width


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "b":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)
