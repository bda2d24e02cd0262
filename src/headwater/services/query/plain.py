"""Arrow columns as values that JSON can hold without losing anything.

An integer beyond ±(2^53 - 1) and every decimal is text, because a reader's double would change it. NaN and infinities
are null. Instants are RFC 3339 in UTC; a timestamp without zone has no offset. Binary is base64, an interval is an
ISO 8601 duration.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headwater.engines.query.protocol import Column

MAX_SAFE_INTEGER: Final = 2**53 - 1
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
_NEWLINE: Final = _OPTIONS | orjson.OPT_APPEND_NEWLINE
_ISO: Final = "%Y-%m-%dT%H:%M:%S"
_FIRST_US: Final = -62_135_596_800_000_000  # 0001-01-01
_LAST_US: Final = 253_402_300_799_999_999  # 9999-12-31
_DUCKDB_UTC: Final = "Etc/UTC"
_INFINITY_US: Final = 2**63 - 1
_FEW: Final = 32
"""Values that are sooner looked at one by one than by a kernel, which costs some fifty microseconds to call."""
_WIDE_INTEGERS: Final = frozenset({"HUGEINT", "UHUGEINT"})

_types: Final[Any] = pa.types


def plain_columns(batch: pa.RecordBatch, columns: tuple[Column, ...]) -> list[list[Any]]:
    """Return each column of ``batch`` as a list of values for ``dump_json``."""
    return [_converter(array.type, column.type)(array) for array, column in zip(batch.columns, columns, strict=True)]


def dump_json(value: Any, *, newline: bool = False) -> bytes:
    """Return JSON text; a datetime without zone is an instant in UTC here, because lists of those are fast to make."""
    return orjson.dumps(value, option=_NEWLINE if newline else _OPTIONS)


def plain_value(value: Any) -> Any:
    """Return one value, however deeply nested, as JSON holds it."""
    convert = _PLAIN.get(type(value))
    return value if convert is None else convert(value)


def portable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with enumerations as plain text, and with the name of UTC that every reader knows."""
    if not any(_types.is_dictionary(field.type) or _zone(field.type) == _DUCKDB_UTC for field in batch.schema):
        return batch
    return pa.RecordBatch.from_arrays([_portable(array) for array in batch.columns], names=batch.schema.names)


def _portable(array: pa.Array) -> pa.Array:
    if _types.is_dictionary(array.type):
        return array.dictionary_decode()
    return array.cast(pa.timestamp(array.type.unit, "UTC")) if _zone(array.type) == _DUCKDB_UTC else array


def _zone(kind: pa.DataType) -> str | None:
    return kind.tz if _types.is_timestamp(kind) else None


def _converter(arrow: pa.DataType, sql: str) -> Callable[[pa.Array], list[Any]]:
    if _types.is_decimal(arrow):
        return _wide_integers if sql in _WIDE_INTEGERS else _decimals
    if _types.is_integer(arrow):
        return _integers if arrow.bit_width == 64 else _listed  # noqa: PLR2004 - the width whose values may be unsafe
    if _types.is_timestamp(arrow):
        return _timestamps
    if _types.is_nested(arrow) or _types.is_binary(arrow) or _types.is_interval(arrow) or _types.is_duration(arrow):
        return _nested
    if isinstance(arrow, pa.BaseExtensionType):
        return lambda array: _nested(array.storage)
    return _listed


def _listed(array: pa.Array) -> list[Any]:
    if array.null_count == 0 and _types.is_primitive(array.type) and not _types.is_temporal(array.type):
        return array.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return] # several times faster
    return array.to_pylist()  # type: ignore[no-any-return] # pyarrow has no types


def _bounds(numbers: pa.Array) -> tuple[int, int] | tuple[None, None]:
    """Return the least and the greatest of integers; None twice when there is none."""
    if len(numbers) <= _FEW:
        values = [value for value in numbers.to_pylist() if value is not None]
        return (min(values), max(values)) if values else (None, None)
    bounds = pc.min_max(numbers)
    return bounds["min"].as_py(), bounds["max"].as_py()


def _integers(array: pa.Array) -> list[Any]:
    low, high = _bounds(array)
    values = _listed(array)
    if low is None or high is None or (low >= -MAX_SAFE_INTEGER and high <= MAX_SAFE_INTEGER):
        return values
    return [None if value is None else _safe(value) for value in values]


def _wide_integers(array: pa.Array) -> list[Any]:
    return [None if value is None else _safe(int(value)) for value in array.to_pylist()]


def _decimals(array: pa.Array) -> list[Any]:
    return [None if value is None else format(value, "f") for value in array.to_pylist()]


def _timestamps(array: pa.Array) -> list[Any]:
    micros = array.cast(pa.timestamp("us", array.type.tz), safe=False)
    numbers = micros.cast(pa.int64())
    low, high = _bounds(numbers)
    if low is not None and high is not None and (low < _FIRST_US or high > _LAST_US):
        return [None if number is None else _far(number, array.type.tz) for number in numbers.to_pylist()]
    if array.type.tz is None:
        return pc.strftime(micros, _ISO).to_pylist()  # type: ignore[no-any-return] # pyarrow has no types
    return micros.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return] # as above


def _far(number: int, zone: str | None) -> str:
    """Return a timestamp, perhaps beyond Python's calendar, as text."""
    if abs(number) >= _INFINITY_US:
        return "infinity" if number > 0 else "-infinity"
    return f"{np.datetime64(number, 'us')}{'Z' if zone else ''}"


def _nested(array: pa.Array) -> list[Any]:
    if _types.is_map(array.type):
        return [None if item is None else plain_value(dict(item)) for item in array.to_pylist()]
    return [plain_value(item) for item in array.to_pylist(maps_as_pydicts="lossy")]


def _safe(value: int) -> int | str:
    return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else str(value)


def _duration(value: Any) -> str:
    years, months = divmod(abs(value.months), 12)
    sign = "-" if value.months < 0 else ""
    date = "".join(f"{sign}{part}{unit}" for part, unit in ((years, "Y"), (months, "M")) if part)
    date += f"{value.days}D" if value.days else ""
    seconds = Decimal(value.nanoseconds) / 1_000_000_000
    time = f"T{format(seconds.normalize(), 'f')}S" if value.nanoseconds else ""
    return f"P{date}{time}" if date or time else "PT0S"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _instant(value: datetime) -> datetime | str:
    return value if value.tzinfo is not None else value.isoformat()


def _delta(value: timedelta) -> str:
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return _duration(pa.MonthDayNano([0, 0, micros * 1_000]))


_PLAIN: Final[Mapping[type, Callable[[Any], Any]]] = {
    int: _safe,
    float: _finite,
    Decimal: lambda value: format(value, "f"),
    datetime: _instant,
    timedelta: _delta,
    bytes: lambda value: base64.b64encode(value).decode(),
    dict: lambda value: {str(name): plain_value(item) for name, item in value.items()},
    list: lambda value: [plain_value(item) for item in value],
    pa.MonthDayNano: _duration,
}
