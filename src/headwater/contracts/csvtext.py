"""CSV into JSON text: cells take the type that the contract gives them, then meet the same checks as JSON.

RFC 4180: quoted cells may hold delimiters, quotes (doubled) and line ends. Lines without anything are no rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from msgspec import Raw

from headwater.contracts.framing import Rows, malformed
from headwater.contracts.jsontext import MAX_DEPTH, UNREADABLE, decode_any, encode, is_too_deep, pointer
from headwater.contracts.model import MAX_FIELDS, Field, LogicalType
from headwater.contracts.record import StructCheck
from headwater.contracts.rows import CsvDialect, FieldError
from headwater.contracts.textchecks import EPOCH_UNITS
from headwater.core.errors import HeadwaterError

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMERIC: Final = frozenset({LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL})
_NESTED: Final = frozenset({LogicalType.JSON, LogicalType.ARRAY, LogicalType.STRUCT, LogicalType.MAP})
_NULL: Final = Raw(b"null")
_ABSENT: Final = object()

Convert = Callable[[str], Any]


class CellFault(ValueError):
    """The text of a cell is no JSON although its field is made of JSON: a row code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.code = code


class Cell(NamedTuple):
    """A cell's text, whether it stood in quotes, and what wrongly follows the closing quote."""

    text: bytes
    quoted: bool
    rest: bytes


class Record(NamedTuple):
    """Where a record lies, and its cells where quotes made them hard to tell apart."""

    line: int
    begin: int
    end: int
    cells: list[Cell] | None


@dataclass
class CsvRows(Rows):
    """CSV records as JSON text."""

    body: bytes = b""
    records: list[Record] = field(default_factory=list)

    def place(self, row: int) -> tuple[int | None, int]:
        """Return line and offset."""
        return self.records[row].line, self.records[row].begin

    def raw(self, row: int) -> bytes:
        """Return the record as it came."""
        return self.body[self.records[row].begin : self.records[row].end]


@dataclass(frozen=True, slots=True)
class Heading:
    """A column: the name its JSON member gets, how its cells become JSON, and what a null cell becomes."""

    name: str
    convert: Convert
    null: Any

    @classmethod
    def of(cls, own: Field) -> Heading:
        """Return the heading of a contract's field; an optional field without a value is absent."""
        is_optional = not own.required or own.has_default
        return cls(own.name, _converter(own), _ABSENT if is_optional else _NULL)


def _converter(own: Field) -> Convert:
    if own.type in _NUMERIC or (own.constraints.format or "") in EPOCH_UNITS:
        return _number
    if own.type is LogicalType.BOOLEAN:
        return lambda text: Raw(text.encode()) if text in ("true", "false") else text
    return _nested if own.type in _NESTED else str


def _number(text: str) -> Any:
    return Raw(text.encode()) if _NUMBER.fullmatch(text) else text


def _nested(text: str) -> Raw:
    raw = text.strip(" \t\r\n").encode()
    if is_too_deep(raw):
        raise CellFault("too_deep", f"must not nest deeper than {MAX_DEPTH}")
    try:
        decode_any(raw)
    except UNREADABLE as error:
        raise CellFault("malformed_json", f"is not valid JSON: {error}") from error
    return Raw(raw)


def split_csv(body: bytes, start: int, dialect: CsvDialect, struct: StructCheck) -> CsvRows:
    """Read a CSV body.

    Args:
        body: need not be UTF-8 throughout.
        start: the byte behind a byte order mark.
        dialect: how it is written.
        struct: the contract's fields; without a header the columns are these, in order.

    Raises:
        HeadwaterError: ``malformed_body``: a column named twice, a header that is no text or too wide, a quote that
            never closes; ``invalid_parameter``: a dialect that cannot be.
    """
    records = RecordSplitter(dialect).split(body, start)
    headings = [Heading.of(member.field) for member in struct.members]
    if dialect.header:
        headings = _read_header(body, next(records), dialect, struct)
    rows = CsvRows([], body=body)
    converter = RecordConverter(headings, dialect)
    texts: list[bytes] = []
    for record in records:
        text, errors = converter.convert(body, record)
        if errors:
            rows.failed[len(texts)] = errors
        texts.append(text)
        rows.records.append(record)
    rows.texts = texts
    return rows


class RecordSplitter:
    """Finds records and, where there are quotes, cells."""

    def __init__(self, dialect: CsvDialect) -> None:
        """Check and compile the dialect; raises ``invalid_parameter``."""
        for name, text in (("delimiter", dialect.delimiter), ("quote", dialect.quote)):
            if len(text) != 1 or not text.isascii() or text in "\r\n":
                raise HeadwaterError("invalid_parameter", f"{name} must be one ASCII character", extra={"name": name})
        if dialect.delimiter == dialect.quote:
            raise HeadwaterError("invalid_parameter", "delimiter and quote must differ", extra={"name": "delimiter"})
        self._quote = quote = dialect.quote.encode()
        mark, delimiter = re.escape(quote), re.escape(dialect.delimiter.encode())
        self._quoted = re.compile(
            mark + b"([^%b]*(?:%b[^%b]*)*)" % (mark, mark * 2, mark) + mark + b"([^%b\\n]*)" % delimiter
        )
        self._plain = re.compile(b"[^%b\\n]*" % delimiter)

    def split(self, body: bytes, start: int) -> Iterator[Record]:
        """Yield the records of ``body`` from ``start``."""
        line, size = 1, len(body)
        has_quotes = self._quote in body
        while start < size:
            end = body.find(b"\n", start)
            end = size if end < 0 else end
            cells = None
            if has_quotes and body.find(self._quote, start, end) >= 0:
                cells, end = self._cells(body, start, line)
            stop = end - 1 if body[end - 1 : end] == b"\r" and end > start else end
            if stop > start:
                yield Record(line, start, stop, cells)
            line += 1 + (body.count(b"\n", start, end) if cells else 0)
            start = end + 1

    def _cells(self, body: bytes, start: int, line: int) -> tuple[list[Cell], int]:
        cells: list[Cell] = []
        while True:
            if body[start : start + 1] == self._quote:
                found = self._quoted.match(body, start)
                if found is None:
                    raise malformed(f"a quote in the record that begins on line {line} is never closed", line=line)
                text = found[1].replace(self._quote * 2, self._quote)
                cells.append(Cell(text, quoted=True, rest=found[2]))
            else:
                found = self._plain.match(body, start)
                assert found is not None, "an empty text matches"
                cells.append(Cell(found[0], quoted=False, rest=b""))
            if body[found.end() : found.end() + 1] in (b"", b"\n"):
                cells[-1] = _without_return(cells[-1])
                return cells, found.end()
            start = found.end() + 1


def _without_return(cell: Cell) -> Cell:
    if cell.quoted:
        return cell._replace(rest=cell.rest.removesuffix(b"\r"))
    return cell._replace(text=cell.text.removesuffix(b"\r"))


def _texts(body: bytes, record: Record, delimiter: str) -> list[str]:
    if record.cells is None:
        return body[record.begin : record.end].decode().split(delimiter)
    return [cell.text.decode() for cell in record.cells]


def _read_header(body: bytes, record: Record, dialect: CsvDialect, struct: StructCheck) -> list[Heading]:
    try:
        names = _texts(body, record, dialect.delimiter)
    except UnicodeDecodeError as error:
        raise malformed("the header is not valid UTF-8") from error
    if len(names) > MAX_FIELDS:
        raise malformed(f"the header names {len(names):,} columns, more than {MAX_FIELDS:,}", columns=len(names))
    headings: list[Heading] = []
    for name in names:
        member = struct.named.get(name)
        headings.append(Heading.of(member.field) if member else Heading(name, str, _ABSENT))
    seen: set[str] = set()
    for name, heading in zip(names, headings, strict=True):
        if heading.name in seen:
            raise malformed(f"the header names the column {name!r} twice", column=name)
        seen.add(heading.name)
    return headings


class RecordConverter:
    """Turns records into JSON text."""

    def __init__(self, headings: Sequence[Heading], dialect: CsvDialect) -> None:
        """Prepare for records with these columns."""
        self._headings = headings
        self._columns = [(heading.name, heading.convert, heading.null) for heading in headings]
        self._dialect = dialect

    def convert(self, body: bytes, record: Record) -> tuple[bytes, tuple[FieldError, ...]]:
        """Return the record's JSON text and what is wrong with it as CSV."""
        try:
            texts = _texts(body, record, self._dialect.delimiter)
        except UnicodeDecodeError:
            return b"{}", (FieldError("bad_encoding", "", "the record is not valid UTF-8"),)
        if len(texts) != len(self._columns):
            message = f"has {len(texts)} columns where the header has {len(self._columns)}"
            return b"{}", (FieldError("bad_column_count", "", message, len(self._columns), str(len(texts))),)
        if record.cells is None:
            return self._encode(texts, frozenset())
        if any(cell.rest for cell in record.cells):
            return b"{}", (FieldError("malformed_csv", "", "there is text behind a closing quote"),)
        return self._encode(texts, frozenset(at for at, cell in enumerate(record.cells) if cell.quoted))

    def _encode(self, texts: list[str], quoted: frozenset[int]) -> tuple[bytes, tuple[FieldError, ...]]:
        errors: list[FieldError] = []
        row: dict[str, Any] = {}
        for at, (text, (name, convert, null)) in enumerate(zip(texts, self._columns, strict=True)):
            if text == self._dialect.null and at not in quoted:
                if null is not _ABSENT:
                    row[name] = null
                continue
            try:
                row[name] = convert(text)
            except CellFault as fault:
                row[name] = _NULL
                errors.append(FieldError(fault.code, pointer("", name), str(fault)))
        return encode(row), tuple(errors)
