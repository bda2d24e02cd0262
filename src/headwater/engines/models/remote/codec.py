"""Requests and replies of the Open Inference Protocol: JSON, and its extension that carries tensors as bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
_LENGTH: Final = struct.Struct("<I")


class UnreadableReply(ValueError):
    """What a server answered is not a reply of the protocol."""


def encode_request(
    inputs: Sequence[tuple[str, str, NDArray[Any]]], outputs: Sequence[str], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Return a request's body and headers. ``inputs`` are names, datatypes and arrays; ``outputs`` are asked for."""
    parts: list[bytes] = []
    described: list[dict[str, Any]] = []
    for name, datatype, array in inputs:
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
        if binary:
            data = _texts_to_bytes(array) if datatype == "BYTES" else array.tobytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            parts.append(data)
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    wanted = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    document: dict[str, Any] = {"inputs": described}
    if wanted:
        document["outputs"] = wanted
    elif binary:
        document["parameters"] = {"binary_data_output": True}
    head = orjson.dumps(document)
    if not binary:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return head + b"".join(parts), headers


def decode_reply(body: bytes, header_length: str | None) -> dict[str, NDArray[Any]]:
    """Return the outputs by name; raises ``UnreadableReply``."""
    try:
        size = len(body) if header_length is None else int(header_length)
        document = orjson.loads(body[:size])
        rest = memoryview(body)[size:]
        answers: dict[str, NDArray[Any]] = {}
        for output in document["outputs"]:
            length = (output.get("parameters") or {}).get("binary_data_size")
            if length is None:
                array = _from_json(output)
            else:
                array = _from_bytes(rest[:length], DTYPES[output["datatype"]])
                rest = rest[length:]
            answers[output["name"]] = array.reshape(output["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise UnreadableReply(f"{type(error).__name__}: {error}") from error
    return answers


def error_text(body: bytes) -> str:
    """Return what a server says went wrong: the protocol's ``error``, a problem's ``detail``, or its beginning."""
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        for member in ("error", "detail", "message"):
            if isinstance(document.get(member), str):
                return str(document[member])[:300]
    return body[:200].decode(errors="replace").strip() or "nothing"


def _from_json(output: Mapping[str, Any]) -> NDArray[Any]:
    dtype = DTYPES[output["datatype"]]
    if dtype.kind == "f":
        return np.array(output["data"], dtype=np.float64).astype(dtype)  # null becomes NaN
    return np.array(output["data"], dtype=dtype)


def _from_bytes(data: memoryview, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind != "O":
        return np.frombuffer(data, dtype)
    texts: list[str] = []
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        texts.append(bytes(data[at : at + length]).decode())
        at += length
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _texts_to_bytes(array: NDArray[Any]) -> bytes:
    encoded = [str(value).encode() for value in array.ravel().tolist()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
