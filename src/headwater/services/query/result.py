"""The result of a query: small ones whole, as bytes; larger ones batch after batch while the reader takes them.

What comes first is read before the first byte is sent, up to ``HEAD_BYTES``: a result that is too large by then is
refused properly. JSON says how many rows follow, so a JSON result has to fit. The other formats go on as a
stream; where a stream exceeds its limits the connection is cut, which every HTTP client reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.engines.query.protocol import Reading
from headwater.services.query.encoder import Encoder
from headwater.services.query.encoding import make_encoder
from headwater.services.query.formats import JSON_FORMATS, ResultFormat

BATCH_ROWS: Final = 8_192
HEAD_BYTES: Final = 32 << 20
WHOLE_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Result:
    """A query's answer: ``body`` when it is small, else ``chunks`` to be taken in threads, one at a time.

    ``held_bytes`` are kept in memory until the last chunk of a result that is not live was taken. ``following`` is the
    cursor to the next page.
    """

    rows: int
    body: bytes | None
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))
    is_live: bool = False
    held_bytes: int = 0
    following: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked of a result: its format, how many rows it may have, and the ``meta`` of its JSON form.

    ``page`` says where a page ends.
    """

    format: ResultFormat
    max_rows: int
    meta: Mapping[str, Any]
    page: PageEnd | None = None


@dataclass(frozen=True, slots=True)
class PageEnd:
    """Where a page ends: after ``limit`` rows, the ``key`` of the last of which ``sign`` makes the next cursor of."""

    limit: int
    key: tuple[str, ...]
    sign: Callable[[Sequence[Any]], str]

    def cut(self, batches: Sequence[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], str]:
        """Return the rows of the page, and the cursor to the next one; ``""`` when there is none.

        Raises:
            HeadwaterError: ``sql_failed`` when two rows have the same key: one of them would be lost.
        """
        table = pa.Table.from_batches(batches)
        if table.num_rows <= self.limit:
            return list(batches), ""
        last, first = ([table.column(name)[row].as_py() for name in self.key] for row in (self.limit - 1, self.limit))
        if last == first:
            raise HeadwaterError(
                "sql_failed",
                f"the key ({', '.join(self.key)}) does not tell rows apart, so that pages would lose some",
                hint="name more columns in `key`, or ask for the result whole",
            )
        return table.slice(0, self.limit).to_batches(), self.sign(last)


def read_result(reading: Reading, shape: Shape) -> Result:
    """Run the query up to the end of its head; blocking.

    Raises:
        HeadwaterError: ``result_too_large``, or whatever the query failed with.
    """
    batches: list[pa.RecordBatch] = []
    rest = reading.batches()
    rows = size = 0
    for batch in rest:
        rows += batch.num_rows
        size += batch.nbytes
        if rows > shape.max_rows:
            raise too_many_rows(shape.max_rows)
        batches.append(batch)
        if size > HEAD_BYTES:
            break
    is_live = size > HEAD_BYTES
    if is_live and shape.format in JSON_FORMATS:
        raise HeadwaterError(
            "result_too_large",
            f"the result is larger than {HEAD_BYTES >> 20} MiB, which is too much for JSON",
            hint="ask for .ndjson, .csv, .parquet or .arrow, or for pages with ?limit=",
        )
    following = ""
    meta = {"row_count": rows, **shape.meta}
    if shape.page is not None:
        if is_live:
            raise HeadwaterError("result_too_large", "the page is too large", hint="ask for fewer rows with ?limit=")
        if batches:
            batches, following = shape.page.cut(batches)
        rows = sum(batch.num_rows for batch in batches)
        meta |= {"row_count": rows, "next": following or None}
    encoder = make_encoder(shape.format, reading.columns, reading.schema)
    if size <= WHOLE_BYTES:
        return Result(rows, b"".join(_encode(encoder, meta, iter(batches))), following=following)
    stream = _bounded(batches, rest, rows, shape.max_rows) if is_live else iter(batches)
    held = 0 if is_live else size
    return Result(rows, None, _encode(encoder, meta, stream), is_live, held, following)


def too_many_rows(max_rows: int) -> HeadwaterError:
    """Return the error for a result with more rows than its endpoint allows."""
    return HeadwaterError(
        "result_too_large",
        f"the result has more than {max_rows} rows",
        hint="ask for less, or raise max_rows in the endpoint's file",
    )


def _bounded(
    head: list[pa.RecordBatch], rest: Iterator[pa.RecordBatch], rows: int, max_rows: int
) -> Iterator[pa.RecordBatch]:
    while head:
        yield head.pop(0)
    for batch in rest:
        rows += batch.num_rows
        if rows > max_rows:
            raise too_many_rows(max_rows)
        yield batch


def _encode(encoder: Encoder, meta: Mapping[str, Any], batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    try:
        yield encoder.begin(meta)
        for batch in batches:
            yield encoder.encode(batch)
        yield from encoder.finish()
    finally:
        encoder.close()
