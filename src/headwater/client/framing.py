"""Cuts a stream of bytes into batches of whole rows without ever holding more than one batch.

Rows are not parsed, only framed: what a row says is for the server to judge, and the bytes it gets are the file's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

from headwater.client.errors import ClientError

Format = Literal["ndjson", "json", "csv"]
MEDIA_TYPES: Final[dict[str, str]] = {
    "ndjson": "application/x-ndjson",
    "json": "application/json",
    "csv": "text/csv",
}
BATCH_ROWS: Final = 10_000
BATCH_BYTES: Final = 8 << 20
_CHUNK: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"
#: A whole string, a structural character, or the quote of a string that goes on behind the end of the buffer.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},"]', re.DOTALL)
_DEPTH: Final = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_ROWS_OBJECT: Final = re.compile(rb'\s*\{\s*"rows"\s*:\s*\[')


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the input: ``rows`` whole rows from index ``first_row`` on, as one request body."""

    body: bytes
    rows: int
    first_row: int


def split(
    stream: BinaryIO, form: Format, *, batch_rows: int = BATCH_ROWS, batch_bytes: int = BATCH_BYTES
) -> Iterator[Piece]:
    """Cut ``stream`` into pieces of at most ``batch_rows`` rows and about ``batch_bytes`` bytes.

    Raises:
        ClientError: the input ends inside a row.
    """
    if form == "csv":
        return _split_csv(stream, batch_rows, batch_bytes)
    rows = _json_rows(stream) if form == "json" else _lines(stream)
    return _gather(rows, batch_rows, batch_bytes, brackets=form == "json")


def gather_lines(rows: Iterable[bytes], batch_rows: int, batch_bytes: int) -> Iterator[Piece]:
    """Join lines (without their ends) into NDJSON pieces."""
    return _gather(rows, batch_rows, batch_bytes, brackets=False)


def _gather(rows: Iterable[bytes], batch_rows: int, batch_bytes: int, *, brackets: bool) -> Iterator[Piece]:
    """Join rows into bodies: a JSON array, or lines."""
    left, between, right = (b"[", b",", b"]") if brackets else (b"", b"\n", b"\n")
    batch: list[bytes] = []
    size = done = 0
    for row in rows:
        if batch and (len(batch) >= batch_rows or size + len(row) > batch_bytes):
            yield Piece(left + between.join(batch) + right, len(batch), done)
            done += len(batch)
            batch, size = [], 0
        batch.append(row)
        size += len(row) + 1
    if batch:
        yield Piece(left + between.join(batch) + right, len(batch), done)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Return the lines that are not blank, without their ends."""
    for number, line in enumerate(stream):
        text = line.removeprefix(_BOM) if number == 0 else line
        if text.strip():
            yield text.rstrip(b"\r\n")


def _split_csv(stream: BinaryIO, batch_rows: int, batch_bytes: int) -> Iterator[Piece]:
    """Repeat the header in front of every piece; a quoted field may hold line ends."""
    records = _records(stream)
    header = next(records, b"").removeprefix(_BOM)
    if header and not header.endswith(b"\n"):
        header += b"\n"
    batch: list[bytes] = []
    size = done = 0
    for record in records:
        if batch and (len(batch) >= batch_rows or size + len(record) > batch_bytes):
            yield Piece(header + b"".join(batch), len(batch), done)
            done += len(batch)
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield Piece(header + b"".join(batch), len(batch), done)


def _records(stream: BinaryIO) -> Iterator[bytes]:
    """Return CSV records with their line ends: lines joined until their quotes are even in number."""
    pending: list[bytes] = []
    odd = False
    for line in stream:
        if b'"' in line and line.count(b'"') % 2:
            odd = not odd
        if pending or odd:
            pending.append(line)
            if odd:
                continue
            line = b"".join(pending)  # noqa: PLW2901 - the record is now the whole line
            pending = []
        if line.strip(b"\r\n"):
            yield line
    if pending:
        raise ClientError('the input ends inside a quoted field: a double quote (") is missing')


def _json_rows(stream: BinaryIO) -> Iterator[bytes]:
    """Return the bytes of each element of an array, of ``{"rows": […]}``, or of a single object."""
    buffer = stream.read(_CHUNK).removeprefix(_BOM)
    wrapped = _ROWS_OBJECT.match(buffer)
    if wrapped:
        start = wrapped.end()
    elif buffer.lstrip()[:1] == b"[":
        start = buffer.index(b"[") + 1
    else:
        yield from _single(buffer, stream)
        return
    yield from _elements(buffer[start:], stream)


def _single(buffer: bytes, stream: BinaryIO) -> Iterator[bytes]:
    """Return one document that is no array; it is one row, so it must fit."""
    document = buffer + stream.read(BATCH_BYTES)
    if stream.read(1):
        raise ClientError(
            'the file is neither an array nor {"rows": […]}, and too large for one row; is it NDJSON? (--format ndjson)'
        )
    if document.strip():
        yield document.strip()


def _elements(buffer: bytes, stream: BinaryIO) -> Iterator[bytes]:
    """Return the elements of an array whose opening bracket was read."""
    depth = start = position = 0
    while True:
        token = _TOKEN.search(buffer, position)
        if token is None or token[0] == b'"':
            more = stream.read(_CHUNK)
            if not more:
                raise ClientError("the JSON array has no end: the file is cut off")
            position = (token.start() if token else len(buffer)) - start
            buffer, start = buffer[start:] + more, 0
            continue
        position = token.end()
        symbol = token[0]
        if depth == 0 and symbol in (b",", b"]"):
            row = buffer[start : token.start()].strip()
            if row:
                yield row
            elif symbol == b",":
                raise ClientError("the JSON array has an empty element")
            if symbol == b"]":
                return
            start = position
        else:
            depth += _DEPTH.get(symbol, 0)
