"""A refused row with some of its fields changed, in the form in which it came."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from headwater.contracts.rows import Format
from headwater.core.errors import HeadwaterError

_read_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def corrected(row: Mapping[str, Any], changes: Mapping[str, Any], removed: Sequence[str]) -> dict[str, Any]:
    """Return a kept row with ``changes`` made to it and the fields ``removed`` left out; the rest stays byte by byte.

    A row that is no JSON object at all becomes one that has the changes alone.

    Raises:
        HeadwaterError: ``invalid_parameter`` for a row that was not kept whole, or a column that it does not have.
    """
    if row["raw"] is None or row["raw_truncated"]:
        raise HeadwaterError(
            "invalid_parameter",
            f"{row['quarantine_id']} was not kept whole, so it cannot be corrected",
            hint="send the right row anew and discard this one",
        )
    if row["format"] == Format.CSV:
        return {**row, "raw": _corrected_csv(row, changes, removed)}
    return {**row, "raw": _corrected_json(bytes(row["raw"]), changes, removed), "format": Format.NDJSON.value}


def _corrected_json(raw: bytes, changes: Mapping[str, Any], removed: Sequence[str]) -> bytes:
    try:
        members = _read_members(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        members = {}
    for name in removed:
        members.pop(name, None)
    members |= {name: msgspec.Raw(orjson.dumps(value)) for name, value in changes.items()}
    # Pretty-printed rows have line breaks between values; inside of them JSON has none.
    return msgspec.json.encode(members).translate(bytes.maketrans(b"\r\n", b"  "))


def _corrected_csv(row: Mapping[str, Any], changes: Mapping[str, Any], removed: Sequence[str]) -> bytes:
    if row["dialect"] is None:
        raise HeadwaterError("invalid_parameter", "the header of this row was not kept, so it cannot be corrected")
    dialect = orjson.loads(row["dialect"])
    options = {"delimiter": dialect["delimiter"], "quotechar": dialect["quote"] or '"'}
    header = next(csv.reader([dialect["header"] or ""], **options), [])
    text = bytes(row["raw"]).decode("utf-8", "replace")
    cells = next(csv.reader(io.StringIO(text, newline=""), **options), [])
    values = dict(zip(header, [*cells, *[""] * len(header)], strict=False))
    unknown = [name for name in (*changes, *removed) if name not in values]
    if unknown:
        raise HeadwaterError(
            "invalid_parameter", f"the file has no column {unknown[0][:80]!r}", hint=f"it has {', '.join(header)[:300]}"
        )
    values |= dict.fromkeys(removed, dialect["null"] or "")
    values |= {name: _cell(value, dialect["null"] or "") for name, value in changes.items()}
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="", **options).writerow([values[name] for name in header])
    return line.getvalue().encode()


def _cell(value: Any, null: str) -> str:
    if value is None:
        return null
    return value if isinstance(value, str) else orjson.dumps(value).decode()
