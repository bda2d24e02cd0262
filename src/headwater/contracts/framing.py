"""Bodies into rows: what lies between a request's bytes and the JSON text of each row.

Every format ends as JSON text a row, so that the same logical row meets the same checks whatever it came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, overload

import msgspec
import numpy as np
from msgspec import Raw

from headwater.contracts.jsontext import UNREADABLE, decode_items
from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError

BOM: Final = b"\xef\xbb\xbf"
SPACE: Final = b" \t\r\n"
"""What JSON takes for space; a line of nothing else is no row."""


@dataclass
class Rows:
    """The rows of a body as JSON text, and where each came from.

    Attributes:
        texts: one JSON text a row, not checked yet.
        failed: errors that the framing itself found, by row; such a row's text only serves to find the others.
    """

    texts: Sequence[bytes | Raw]
    failed: dict[int, tuple[FieldError, ...]] = field(default_factory=dict)

    def place(self, row: int) -> tuple[int | None, int]:
        """Return the line (from 1; None where the format has none) and the byte offset of a row."""
        raise NotImplementedError

    def raw(self, row: int) -> bytes:
        """Return the exact bytes of a row."""
        return bytes(self.texts[row])


class LineRows(Rows):
    """NDJSON: a row a line, blank lines are no rows."""

    def __init__(self, body: bytes, start: int) -> None:
        """Split ``body`` from ``start``, the byte behind a byte order mark."""
        lines = body[start:].split(b"\n") if start else body.split(b"\n")
        self._start = start
        self._all = lines
        self._numbers: list[int] | None = None
        self._reached = (0, start)
        if not lines[-1]:
            lines = lines[:-1]
        super().__init__(lines)
        if not all(lines):
            self.drop_blank()

    def drop_blank(self) -> None:
        """Leave out lines of nothing but space; called once a line turns out unreadable, for most bodies have none."""
        if self._numbers is None:
            numbers = [number for number, line in enumerate(self.texts) if bytes(line).strip(SPACE)]
            if len(numbers) < len(self.texts):
                self._numbers = numbers
                self.texts = [self.texts[number] for number in numbers]

    def place(self, row: int) -> tuple[int | None, int]:
        """Return line and offset."""
        number = row if self._numbers is None else self._numbers[row]
        known, offset = self._reached
        if number < known:
            known, offset = 0, self._start
        offset += sum(map(len, self._all[known:number])) + number - known
        self._reached = number, offset
        return number + 1, offset

    def raw(self, row: int) -> bytes:
        """Return the line without its end."""
        return bytes(self.texts[row]).removesuffix(b"\r")


class ItemRows(Rows):
    """JSON: a list of objects, an object with ``rows``, or one object."""

    def __init__(self, body: bytes, items: Sequence[Raw]) -> None:
        """Keep the body that the items are views of."""
        super().__init__(items)
        self._body = body

    def place(self, row: int) -> tuple[int | None, int]:
        """Return the offset; JSON has no lines."""
        return None, _address(self.texts[row]) - _address(self._body)


class UnsplitItems(Sequence[Raw]):
    """The items of a JSON list that was decoded in one go: it is split once somebody asks for one of them."""

    def __init__(self, text: memoryview, count: int) -> None:
        """Keep the text of a list of ``count`` items."""
        self._text = text
        self._count = count
        self._items: list[Raw] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Raw: ...
    @overload
    def __getitem__(self, at: slice) -> list[Raw]: ...
    def __getitem__(self, at: int | slice) -> Raw | list[Raw]:
        if self._items is None:
            self._items = decode_items(self._text)
        return self._items[at]


def _address(data: bytes | Raw) -> int:
    address: int = np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0]
    return address


def split_json(body: bytes, start: int, *, has_rows_field: bool) -> ItemRows:
    """Split a JSON body.

    Args:
        body: valid UTF-8.
        start: the byte behind a byte order mark.
        has_rows_field: the contract has a field ``rows``, so an object with that member is a row itself.

    Raises:
        HeadwaterError: ``malformed_body``.
    """
    text = memoryview(body)[start:]
    first = body[start:].lstrip(SPACE)[:1]
    try:
        if first == b"[":
            return ItemRows(body, decode_items(text))
        if first != b"{":
            raise malformed("a JSON body is a list of objects, an object with rows, or one object")
        whole = _decode_raw(text)
    except UNREADABLE as error:
        raise malformed(f"the body is not valid JSON: {error}") from error
    if not has_rows_field:
        try:
            return ItemRows(body, _decode_envelope(text).rows)
        except msgspec.ValidationError:
            pass
    return ItemRows(body, [whole])


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[Raw]


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_raw: Any = msgspec.json.Decoder(Raw).decode


def malformed(detail: str, **extra: Any) -> HeadwaterError:
    """Return the error of a body that is not the declared format as a whole."""
    hint = "Send newline-delimited JSON to have the good rows accepted when others are broken."
    return HeadwaterError("malformed_body", detail, hint=hint, extra=extra)
