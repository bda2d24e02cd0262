"""What a caller may know about an error of DuckDB: its kind and its first line, without paths or names of views."""

from __future__ import annotations

import re
from typing import Final

import duckdb

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

_log = get_logger(__name__)
_PATH: Final = re.compile(r"""(?:[a-z0-9]+:/)?(?:/[^\s/'"]+){2,}/?""")
_VIEW: Final = re.compile(r'"?v"?\."?([A-Za-z_][A-Za-z0-9_-]*)@\d+"?|([A-Za-z_][A-Za-z0-9_-]*)@\d+')
_OURS: Final = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException)
_MAX_DETAIL: Final = 300


def explain_failure(error: BaseException) -> HeadwaterError:
    """Return the problem for an error that DuckDB, or Arrow on its behalf, raised while a query ran."""
    message = str(error)
    if isinstance(error, duckdb.InterruptException) or message.startswith("INTERRUPT"):
        return HeadwaterError(
            "query_timeout", "the query ran into its time limit", hint="ask for less, or add a filter to the endpoint"
        )
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or "Out of Memory" in message:
        return HeadwaterError(
            "sql_failed", "the query needs more memory than it may use", hint="aggregate or filter before sorting"
        )
    if isinstance(error, _OURS) or "IO Error" in message:
        _log.error("query_engine_failed", error=message)
        return HeadwaterError("internal", "the query engine could not read the tables")
    return HeadwaterError("sql_failed", scrub(message), hint="mend the query or its parameters")


def scrub(message: str) -> str:
    """Return the first line of a message without paths, view names and its final mark, at most 300 characters."""
    line = message.strip().split("\n", 1)[0].rstrip(" .!")
    line = _VIEW.sub(lambda match: match[1] or match[2], line)
    return _PATH.sub("…", line)[:_MAX_DETAIL]
