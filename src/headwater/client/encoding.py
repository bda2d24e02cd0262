"""How rows become bytes, and bytes become a compressed body."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

#: Zstandard where it is installed; the standard library's gzip does as well.
_ZSTD: Final[Any] = importlib.import_module("zstandard") if importlib.util.find_spec("zstandard") else None
_SMALL: Final = 1024
#: Servers refuse bodies that expand more than a hundredfold (a zip bomb); such a body goes as it is.
_LARGEST_RATIO: Final = 80


def encode_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Return one JSON line a row (without the line end); values that JSON cannot hold are a ``TypeError``."""
    for row in rows:
        yield json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain).encode()


def compress(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body to send and the headers that say how it is compressed."""
    if len(body) < _SMALL:
        return body, {}
    if _ZSTD is not None:
        packed, name = _ZSTD.ZstdCompressor(level=3).compress(body), "zstd"
    else:
        packed, name = gzip.compress(body, 6, mtime=0), "gzip"
    if len(body) > len(packed) * _LARGEST_RATIO:
        return body, {}
    return packed, {"Content-Encoding": name}


def parameter_text(value: Any) -> str:
    """Return a parameter as query-string text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal):
        return str(value)
    return str(_plain(value))


def _plain(value: Any) -> Any:
    """Return the JSON form of what ``json`` does not know."""
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON: {str(value)[:80]}")
