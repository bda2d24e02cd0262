"""Requests and replies of the Open Inference Protocol: JSON, with tensors in it or in bytes behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import orjson
from msgspec import UNSET
from numpy.typing import NDArray

from headwater.core.errors import HeadwaterError
from headwater.services.inference.batch import floats
from headwater.services.inference.oip_values import (
    BYTES,
    DTYPES,
    UNREADABLE,
    RawTensor,
    Values,
    count_of,
    datatype_of,
    from_bytes,
    from_json,
    row_of,
    to_bytes,
)

_UNSUPPORTED: Final = {
    "sequence_id": "sequences of requests are not kept",
    "shared_memory_region": "there is no shared memory with this server",
    "classification": "classification is not done here; take the outputs",
}


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
    inputs: list[RawTensor]
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


class Tensor(msgspec.Struct):
    """A named tensor. ``values`` are flat: an array, or a list where they are text or may be null."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Values


class InferRequest(msgspec.Struct):
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
    except UNREADABLE as error:
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
            data = to_bytes(values)
            item["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            item["data"] = (
                values.ravel().tolist() if values.dtype.kind in "OU" else np.ascontiguousarray(values.ravel())
            )
        described.append(item)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((text, *tail)), len(text)) if tail else (text, None)


def _read_floats(body: bytes) -> InferRequest | None:
    """Return a request whose tensors are all numbers in flat JSON lists of floats; None for any other."""
    try:
        request = _decode_floats(body)
    except UNREADABLE:
        return None
    if request.parameters or request.outputs or not request.inputs:
        return None
    tensors: list[Tensor] = []
    for tensor in request.inputs:
        dtype = DTYPES.get(tensor.datatype)
        if dtype is None or dtype.kind != "f" or tensor.parameters or count_of(tensor.shape) != len(tensor.data):
            return None
        values = floats(tensor.data)
        if values is None:
            return None
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


def _read_tensor(tensor: RawTensor, rest: memoryview) -> tuple[Tensor, memoryview]:
    parameters = tensor.parameters or {}
    _refuse_unsupported(parameters, f"input {tensor.name!r}")
    if tensor.datatype != BYTES and tensor.datatype not in DTYPES:
        known = ", ".join((*DTYPES, BYTES))
        raise HeadwaterError(
            "input_invalid", f"input {tensor.name!r}: there is no datatype {tensor.datatype[:20]!r}, only {known}"
        )
    count = count_of(tensor.shape)
    if count is None:
        raise HeadwaterError("input_invalid", f"input {tensor.name!r}: the shape {tensor.shape} is not one of a tensor")
    size = parameters.get("binary_data_size")
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise HeadwaterError(
                "input_invalid",
                f"input {tensor.name!r}: binary_data_size is {size!r}, and {len(rest)} bytes are left behind the JSON",
            )
        values = from_bytes(tensor, rest[:size], count)
        return Tensor(tensor.name, tensor.datatype, tensor.shape, values), rest[size:]
    if tensor.data is UNSET:
        raise HeadwaterError("input_invalid", f"input {tensor.name!r} has neither data nor binary_data_size")
    return Tensor(tensor.name, tensor.datatype, tensor.shape, from_json(tensor, count)), rest


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
    if parameters.keys().isdisjoint(_UNSUPPORTED):
        return
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
                    return f"input {tensor['name']!r} row {row_of(tensor['shape'], at)}: {value.literal}"
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        return None  # it is no request at all
    return None
