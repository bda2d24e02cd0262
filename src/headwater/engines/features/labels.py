"""Labels for training frames: reading them from JSON, CSV or Arrow, with every bad time named."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.csv as pacsv

from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError

MAX_LABELS: Final = 500_000
MAX_REPORTED: Final = 100
_JSON_HINT: Final = 'send {"labels": [{…}], "time": "column"}'


def read_labels(body: bytes, media_type: str, time: str | None) -> tuple[pa.Table, str]:
    """Return the labels of a request's body and the name of their time column.

    Args:
        body: the whole body.
        media_type: ``application/json``, ``text/csv`` or ``application/vnd.apache.arrow.stream``.
        time: the time column; JSON bodies may name it themselves.

    Raises:
        HeadwaterError: ``malformed_body``, ``unsupported_media_type``, ``invalid_parameter``, ``too_many_rows``.
    """
    if media_type == "application/json":
        table, named = _from_json(body)
        time = time or named
    elif media_type in ("text/csv", "application/vnd.apache.arrow.stream"):
        table = _from_csv(body) if media_type == "text/csv" else _from_arrow(body)
    else:
        raise HeadwaterError(
            "unsupported_media_type", f"labels cannot come as {media_type[:80]!r}", hint="send JSON, CSV or Arrow"
        )
    if table.num_rows > MAX_LABELS:
        raise HeadwaterError(
            "too_many_rows",
            f"{table.num_rows} labels, and a request may have {MAX_LABELS}",
            hint="send several requests",
        )
    return table, time or _only_time(table)


def with_instants(connection: duckdb.DuckDBPyConnection, labels: pa.Table, time: str) -> str:
    """Register ``labels`` on ``connection`` with their times as instants; return the table's name in SQL.

    Raises:
        HeadwaterError: ``input_invalid`` listing the labels whose time cannot be read; ``invalid_parameter`` when
            there is no such column.
    """
    if time not in labels.column_names:
        raise HeadwaterError(
            "invalid_parameter", f"the labels have no column {time[:80]!r}", hint="name the time column"
        )
    column = labels.column(time)
    connection.register("labels_as_sent", labels)
    quoted = '"' + time.replace('"', '""') + '"'
    read = f"TRY_CAST({quoted} AS TIMESTAMPTZ)"
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_string(column.type)):
        raise HeadwaterError(
            "invalid_parameter",
            f"{time!r} holds {column.type}, not instants",
            hint="send text such as 2013-01-31T12:00:00Z",
        )
    read_all = f"SELECT row_number() OVER () - 1 AS i, {quoted} AS sent, {read} AS instant FROM labels_as_sent"  # noqa: S608
    query = f"SELECT i, sent FROM ({read_all}) WHERE instant IS NULL LIMIT {MAX_REPORTED}"  # noqa: S608
    bad = connection.execute(query).fetchall()
    if bad:
        raise _bad_times(bad, time)
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW labels_read AS SELECT * REPLACE ({read} AS {quoted}) FROM labels_as_sent"  # noqa: S608
    )
    return "labels_read"


def _bad_times(bad: Sequence[tuple[int, Any]], time: str) -> HeadwaterError:
    pointer = "/" + time.replace("~", "~0").replace("/", "~1")
    errors = []
    for row, value in bad:
        code = "missing_field" if value is None else "invalid_timestamp"
        message = "a label needs a time" if value is None else "not a timestamp; write 2013-01-31T12:00:00Z"
        actual = None if value is None else str(value)[:64]
        errors.append({"row": row, "errors": [asdict(FieldError(code, pointer, message, "timestamp", actual))]})
    first = errors[0]
    return HeadwaterError(
        "input_invalid", f"label {first['row']}: {pointer}: its time cannot be read", extra={"errors": errors}
    )


def _from_json(body: bytes) -> tuple[pa.Table, str | None]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HeadwaterError("malformed_body", f"the body is not JSON: {error}", hint=_JSON_HINT) from error
    if not isinstance(document, dict) or not isinstance(document.get("labels"), list):
        raise HeadwaterError("input_invalid", "the body must be an object with a list 'labels'", hint=_JSON_HINT)
    labels, time = document["labels"], document.get("time")
    if not labels or not all(isinstance(label, dict) for label in labels):
        raise HeadwaterError("input_invalid", "'labels' must be a list of objects, one at least", hint=_JSON_HINT)
    if time is not None and not isinstance(time, str):
        raise HeadwaterError("input_invalid", "'time' must be the name of a column", hint=_JSON_HINT)
    names = list(dict.fromkeys(name for label in labels for name in label))
    try:
        columns = {name: pa.array([label.get(name) for label in labels]) for name in names}
    except (pa.ArrowException, OverflowError) as error:
        raise HeadwaterError("input_invalid", f"a column of the labels has values of several types: {error}") from error
    return pa.table(columns), time


def _from_csv(body: bytes) -> pa.Table:
    try:
        # Times stay text: DuckDB reads them, and says which it cannot.
        return pacsv.read_csv(io.BytesIO(body), convert_options=pacsv.ConvertOptions(timestamp_parsers=["-"]))
    except pa.ArrowException as error:
        raise HeadwaterError("malformed_body", f"the body is not CSV: {str(error)[:300]}") from error


def _from_arrow(body: bytes) -> pa.Table:
    try:
        return pa.ipc.open_stream(body).read_all()
    except (pa.ArrowException, OSError) as error:
        raise HeadwaterError("malformed_body", f"the body is not an Arrow stream: {str(error)[:300]}") from error


def _only_time(table: pa.Table) -> str:
    """Return the one column of instants; raises ``invalid_parameter`` when it must be named."""
    found = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(found) == 1:
        return str(found[0])
    raise HeadwaterError(
        "invalid_parameter", "which column has the labels' times?", hint='name it: ?time=column, or "time" in JSON'
    )
