"""What goes into a compiled contract and what comes out: formats, faults, typed rows, columns.

A *validator* is a compiled contract (``contracts.validate.compile_contract``). It works in two steps, because the first
belongs to one request and the second pays off over many: ``read`` splits and decodes a body into typed rows and exact
faults; ``columnise`` turns the typed rows of several requests into one Arrow batch and finds what only columns show
(timestamps, patterns). Neither has side effects. Every row of a body ends in exactly one place: among the accepted
rows or among the faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import pyarrow as pa

from headwater.contracts.model import Contract


class Format(StrEnum):
    """A format that rows come in."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a CSV body is written. A cell whose unquoted text equals ``null`` is null."""

    delimiter: str = ","
    quote: str = '"'
    null: str = ""
    header: bool = True


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds of one body."""

    max_rows: int = 100_000
    max_row_bytes: int = 1 << 20
    max_depth: int = 64


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a row.

    Attributes:
        code: a key of ``core.errors.ROW_CODES``.
        path: RFC 6901 JSON Pointer to the value; empty for the whole row.
        message: one plain sentence.
        expected: what the contract asks for, JSON-able, such as ``{"ge": 1}`` or the list of allowed values.
        actual: the value found, JSON-encoded and cut at 64 characters; ``"<redacted>"`` where the field is not public.
        rule: the id of the contract's rule that failed.
    """

    code: str
    path: str
    message: str
    expected: Any = None
    actual: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that the contract refuses, with all that is wrong with it (at most 20 errors) and its exact bytes.

    ``row`` counts from 0 within the body, ``line`` from 1 (NDJSON and CSV only), ``byte_offset`` from 0 in the
    decompressed body. ``raw`` of a CSV row is its line as it came. ``key`` is the row's own key as text, where it could
    be read and is public.
    """

    row: int
    line: int | None
    byte_offset: int
    raw: bytes
    errors: tuple[FieldError, ...]
    key: str | None = None


class RowBatch(Protocol):
    """The rows of one body after ``Validator.read``: typed rows still to be columnised, and the faults found so far."""

    @property
    def received(self) -> int:
        """Return how many rows the body had (blank lines are no rows)."""
        ...

    @property
    def accepted(self) -> int:
        """Return how many rows passed so far; columns may still refuse some of them."""
        ...

    @property
    def faults(self) -> Sequence[RowFault]:
        """Return the rows refused so far, in order."""
        ...

    @property
    def extra_captured(self) -> int:
        """Return how many rows had unknown fields that went into ``_extra``."""
        ...


@dataclass(frozen=True, slots=True)
class Columns:
    """The rows of several bodies as one Arrow batch in ``Validator.schema``.

    Attributes:
        batch: the accepted rows of all bodies, body after body, in their order.
        positions: for each body the original row numbers of its accepted rows; its share of ``batch`` has that length.
        faults: for each body every refused row, those of ``read`` included, ordered by row.
    """

    batch: pa.RecordBatch
    positions: tuple[Sequence[int], ...]
    faults: tuple[Sequence[RowFault], ...]


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Per row a 16-byte key (BLAKE2b of the canonical key values) and a 16-byte digest of the whole row's content.

    The same logical row has the same key and digest whatever format it came in.
    """

    keys: Sequence[bytes]
    digests: Sequence[bytes]


class Validator(Protocol):
    """A compiled contract. Safe to use from several threads."""

    @property
    def contract(self) -> Contract:
        """Return what was compiled."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema of accepted rows: the contract's fields, then ``_extra`` and ``_hw_late``."""
        ...

    @property
    def row_type(self) -> type[Any]:
        """Return the msgspec struct of a row, with every constraint that msgspec can hold."""
        ...

    def read(
        self, body: bytes, form: Format, *, dialect: CsvDialect = CsvDialect(), limits: ReadLimits = ReadLimits()
    ) -> RowBatch:
        """Split and decode a decompressed body.

        Raises:
            HeadwaterError: ``empty_body``, ``malformed_body`` (the whole body is not that format), ``too_many_rows``.
        """
        ...

    def columnise(self, batches: Sequence[RowBatch], received_at_us: Sequence[int]) -> Columns:
        """Turn typed rows into exact Arrow columns; ``received_at_us`` holds one epoch-microsecond instant a batch."""
        ...

    def diagnose(self, row: bytes) -> Sequence[FieldError]:
        """Return everything wrong with one JSON row; empty when the contract accepts it."""
        ...

    def refuse(self, batch: RowBatch, row: int, errors: Sequence[FieldError]) -> RowFault:
        """Return the fault of a row that ``read`` accepted and that is refused for reasons outside the contract."""
        ...

    def row_keys(self, batch: pa.RecordBatch) -> RowKeys | None:
        """Return keys and digests of accepted rows; None when the contract has no key to deduplicate by."""
        ...
