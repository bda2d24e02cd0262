"""The slow way to read a body: row by row, by the contract's own check, with every fault named."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from headwater.contracts.rows import FieldError, Format, ReadLimits, Validator
from headwater.core.errors import HeadwaterError

MAX_REPORTED: Final = 100
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_SHAPE: Final = 'send {"rows": [{name: value}]} or {"inputs": [[value, …]]}'


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    rows: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET


_read_envelope = msgspec.json.Decoder(_Envelope).decode
_read_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.encode


class ExactReader:
    """Reads bodies by a validator."""

    def __init__(self, validator: Validator, max_rows: int) -> None:
        """Read rows of this contract, at most ``max_rows`` of them."""
        self._validator = validator
        self._max_rows = max_rows
        self._names = tuple(field.name for field in validator.contract.fields)

    def read(self, body: bytes) -> Sequence[tuple[Any, ...]]:
        """Return the rows' values in signature order.

        Raises:
            HeadwaterError: ``input_invalid`` with every bad row, ``malformed_body``, ``empty_body``, ``too_many_rows``.
        """
        values, faults, _total = self.read_partly(body)
        if faults:
            raise input_invalid(faults)
        return values

    def read_partly(self, body: bytes) -> tuple[Sequence[tuple[Any, ...]], dict[int, Sequence[FieldError]], int]:
        """Return the good rows' values, what is wrong with the others by number, and how many rows there were.

        Raises:
            HeadwaterError: ``malformed_body``, ``empty_body``, ``too_many_rows``, or ``input_invalid`` without rows.
        """
        member, raws = self._split(body)
        faults: dict[int, Sequence[FieldError]] = {}
        objects: dict[int, bytes] = {}
        for index, raw in enumerate(raws):
            if member == "rows":
                objects[index] = raw
            elif errors := self._name_values(raw, index, objects):
                faults[index] = errors
        return self._check(objects, faults), faults, len(raws)

    def _split(self, body: bytes) -> tuple[str, list[bytes]]:
        """Return which member the body has, and the text of each row."""
        if not body.strip():
            raise HeadwaterError("empty_body", hint=_SHAPE)
        try:
            envelope = _read_envelope(body)
        except _UNREADABLE as error:
            raise self._explain(body, error) from error
        present = [(name, raw) for name in ("rows", "inputs") if (raw := getattr(envelope, name)) is not UNSET]
        if len(present) != 1:
            raise HeadwaterError("input_invalid", "the body must have either 'rows' or 'inputs'", hint=_SHAPE)
        member, raw = present[0]
        try:
            rows = [bytes(item) for item in _read_list(raw)]
        except _UNREADABLE as error:
            raise HeadwaterError("input_invalid", f"'{member}' must be an array: {error}", hint=_SHAPE) from error
        if not rows:
            raise HeadwaterError("input_invalid", f"'{member}' has no rows", hint=_SHAPE)
        if len(rows) > self._max_rows:
            raise HeadwaterError(
                "too_many_rows",
                f"{len(rows)} rows, and a request may have {self._max_rows}",
                hint="send several requests",
            )
        return member, rows

    def _name_values(self, raw: bytes, index: int, objects: dict[int, bytes]) -> list[FieldError]:
        """Turn a row of positions into one of names, or return why it cannot be one."""
        count = len(self._names)
        try:
            values = _read_list(raw)
        except _UNREADABLE:
            return [FieldError("type_mismatch", "", f"a row of 'inputs' must be an array of {count} values", "array")]
        if len(values) < count:
            missing = self._names[len(values) :]
            return [FieldError("missing_field", pointer(name), "is required") for name in missing[:20]]
        if len(values) > count:
            message = f"the row has {len(values)} values, and the signature {count}"
            return [FieldError("unknown_field", f"/{count}", message)]
        pairs = zip(self._names, values, strict=True)
        objects[index] = b"{" + b",".join(_encode(name) + b":" + bytes(value) for name, value in pairs) + b"}"
        return []

    def _check(self, objects: dict[int, bytes], faults: dict[int, Sequence[FieldError]]) -> Sequence[tuple[Any, ...]]:
        """Return the values of good rows; add the bad ones to ``faults``."""
        if not objects:
            return []
        numbers = list(objects)
        limits = ReadLimits(max_rows=self._max_rows, max_row_bytes=1 << 24)
        batch = self._validator.read(b"[" + b",".join(objects.values()) + b"]", Format.JSON, limits=limits)
        columns = self._validator.columnise([batch], [time.time_ns() // 1_000])
        for fault in columns.faults[0]:
            faults[numbers[fault.row]] = fault.errors
        return list(zip(*(columns.batch.column(name).to_pylist() for name in self._names), strict=True))

    def _explain(self, body: bytes, error: Exception) -> HeadwaterError:
        """Return what is wrong with a body that is no envelope; the row and field where NaN or Infinity was written."""
        try:
            document = json.loads(body, parse_constant=_NotJson)
        except (ValueError, RecursionError):
            return HeadwaterError("malformed_body", f"the body is not JSON: {error}", hint=_SHAPE)
        if not isinstance(document, dict):
            return HeadwaterError("input_invalid", "the body must be a JSON object", hint=_SHAPE)
        unknown = sorted(set(document) - {"rows", "inputs"})
        if unknown:
            return HeadwaterError("input_invalid", f"there is no member {unknown[0][:80]!r} in a request", hint=_SHAPE)
        faults = _find_constants(document, self._names)
        return input_invalid(faults) if faults else HeadwaterError("malformed_body", f"the body is not JSON: {error}")


def find_constants(body: bytes, members: Sequence[str]) -> HeadwaterError | None:
    """Return the error that names where NaN or Infinity was written in rows of ``members``; None where it was not."""
    try:
        document = json.loads(body, parse_constant=_NotJson)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    faults: dict[int, Sequence[FieldError]] = {}
    for member in members:
        faults |= _find_constants({"rows": document.get(member)}, ())
    return input_invalid(faults) if faults else None


class _NotJson:
    """A literal such as NaN, which JSON does not have."""

    def __init__(self, literal: str) -> None:
        self.literal = literal


def _find_constants(document: dict[str, Any], names: Sequence[str]) -> dict[int, Sequence[FieldError]]:
    faults: dict[int, Sequence[FieldError]] = {}
    rows = document.get("rows", document.get("inputs"))
    for index, row in enumerate(rows if isinstance(rows, list) else ()):
        pairs = row.items() if isinstance(row, dict) else zip(names, row, strict=False) if isinstance(row, list) else ()
        errors = [
            FieldError("type_mismatch", pointer(name), f"{value.literal} is not a JSON number", "number", value.literal)
            for name, value in pairs
            if isinstance(value, _NotJson)
        ]
        if errors:
            faults[index] = errors
    return faults


def input_invalid(faults: Mapping[int, Sequence[FieldError]]) -> HeadwaterError:
    """Return the error for bad rows, by row number: all of them counted, the first hundred in full."""
    numbers = sorted(faults)
    first = faults[numbers[0]][0]
    return HeadwaterError(
        "input_invalid",
        f"row {numbers[0]}{': ' + first.path if first.path else ''}: {first.message}",
        extra={
            "errors": [
                {"row": number, "errors": [asdict(error) for error in faults[number]]}
                for number in numbers[:MAX_REPORTED]
            ],
            "errors_total": len(numbers),
            "errors_truncated": len(numbers) > MAX_REPORTED,
        },
    )


def pointer(name: str) -> str:
    """Return the JSON Pointer to a field of a row."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
