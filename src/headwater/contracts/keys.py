"""Keys and digests of accepted rows, taken from the exact Arrow values: the format a row came in is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import msgspec
import pyarrow as pa

from headwater.contracts.rows import RowKeys

KEY_BYTES: Final = 16
_DERIVED: Final = ("_hw_late",)

# MessagePack writes one value one way: integers, doubles, text and bytes never look alike, all parts have a length
_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_hash = partial(blake2b, digest_size=KEY_BYTES)


def row_keys(batch: pa.RecordBatch, key: Sequence[str]) -> RowKeys:
    """Return 16-byte BLAKE2b of each row's key values and of its whole content.

    What depends on the time of receipt is no content.
    """
    columns = {name: _values(batch.column(name)) for name in batch.schema.names if name not in _DERIVED}
    return RowKeys(_digests([columns[name] for name in key]), _digests(list(columns.values())))


def _values(column: pa.Array) -> list[Any]:
    """Return Python values; instants and days as their integers, which are quicker and no less exact."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    values: list[Any] = column.to_pylist()
    return values


def _digests(columns: Sequence[Sequence[Any]]) -> list[bytes]:
    return [_hash(_encode(row)).digest() for row in zip(*columns, strict=True)]
