"""An accepted row told as JSON: what is kept of a row whose key is known with other content."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pyarrow as pa

from headwater.contracts.model import Contract
from headwater.contracts.rows import FieldError, RowFault
from headwater.core.errors import ROW_CODES
from headwater.services.ingest.reply import to_json


def conflict_fault(contract: Contract, batch: pa.RecordBatch, index: int, row: int) -> RowFault:
    """Return the fault of a row that repeats a key with other content.

    Args:
        contract: the contract that accepted the row.
        batch: where the row is.
        index: its place in ``batch``.
        row: its number in the request.
    """
    values = batch.slice(index, 1).to_pylist()[0]
    names = contract.dedup.key if contract.dedup is not None else ()
    key = [values.get(name) for name in names]
    shown = key[0] if len(key) == 1 else to_json(key).decode()
    error = FieldError(
        code="duplicate_conflict",
        path="/" + names[0] if len(names) == 1 else "",
        message=ROW_CODES["duplicate_conflict"],
    )
    return RowFault(
        row=row,
        line=None,
        byte_offset=0,
        raw=_row_json(contract, values),
        errors=(error,),
        key=None if shown is None else str(shown),
    )


def _row_json(contract: Contract, values: dict[str, Any]) -> bytes:
    row = {field.name: values[field.name] for field in contract.fields if values.get(field.name) is not None}
    extra = values.get("_extra")
    if extra:
        row |= {name: value for name, value in orjson.loads(extra).items() if name not in row}
    return orjson.dumps(row, default=_plain)


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
