"""Numbers in half the room: a payload may hold as float32 what its table has as float64, where no digit is lost.

What models are given is mostly float32. Whoever makes rows of a payload widens it, so that nothing else need know.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

_MARK: Final = b"headwater:wide"


def narrowed(schema: pa.Schema, names: frozenset[str]) -> pa.Schema:
    """Return the schema of a payload that holds the columns of these names as float32."""
    fields = [field.with_type(pa.float32()) if field.name in names else field for field in schema]
    return pa.schema(fields, metadata={_MARK: b"float64"})


def widened(rows: pa.Table) -> pa.Table:
    """Return the rows of a payload as their table has them."""
    if _MARK not in (rows.schema.metadata or {}):
        return rows
    fields = [field.with_type(pa.float64()) if field.type == pa.float32() else field for field in rows.schema]
    return rows.cast(pa.schema(fields))
