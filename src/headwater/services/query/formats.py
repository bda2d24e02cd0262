"""The formats of a result, and which one a request asks for: by suffix, by ``?format=``, else by ``Accept``."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from headwater.core.errors import HeadwaterError


class ResultFormat(StrEnum):
    """A format that results come in. Those with a trailer say at their end that they are complete."""

    JSON = "json"
    COLUMNS = "columns"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"
    XLSX = "xlsx"
    HTML = "html"
    NDJSON_TRAILER = "ndjson-trailer"
    ARROW_TRAILER = "arrow-trailer"


JSON_FORMATS: Final = frozenset({ResultFormat.JSON, ResultFormat.COLUMNS})
"""Those that say first how many rows follow, so that they have to fit into memory."""
TRAILERS: Final = MappingProxyType(
    {ResultFormat.NDJSON: ResultFormat.NDJSON_TRAILER, ResultFormat.ARROW: ResultFormat.ARROW_TRAILER}
)
NAMED_FORMATS: Final = tuple(form for form in ResultFormat if form not in TRAILERS.values())
MEDIA_TYPES: Final = MappingProxyType(
    {
        ResultFormat.JSON: "application/json",
        ResultFormat.COLUMNS: "application/vnd.headwater.columns+json",
        ResultFormat.NDJSON: "application/x-ndjson",
        ResultFormat.CSV: "text/csv; charset=utf-8; header=present",
        ResultFormat.ARROW: "application/vnd.apache.arrow.stream",
        ResultFormat.PARQUET: "application/vnd.apache.parquet",
        ResultFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ResultFormat.HTML: "text/html; charset=utf-8",
        ResultFormat.NDJSON_TRAILER: "application/x-ndjson",
        ResultFormat.ARROW_TRAILER: "application/vnd.apache.arrow.stream",
    }
)
COMPRESSED_FORMATS: Final = frozenset({ResultFormat.PARQUET, ResultFormat.XLSX})
"""Those that no compression makes smaller."""
_ACCEPTED: Final = MappingProxyType(
    {
        "application/json": ResultFormat.JSON,
        "application/vnd.headwater.columns+json": ResultFormat.COLUMNS,
        "application/x-ndjson": ResultFormat.NDJSON,
        "application/ndjson": ResultFormat.NDJSON,
        "application/jsonl": ResultFormat.NDJSON,
        "text/csv": ResultFormat.CSV,
        "application/vnd.apache.arrow.stream": ResultFormat.ARROW,
        "application/vnd.apache.parquet": ResultFormat.PARQUET,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ResultFormat.XLSX,
        "text/html": ResultFormat.HTML,
        "*/*": ResultFormat.JSON,
        "application/*": ResultFormat.JSON,
        "text/*": ResultFormat.CSV,
    }
)
_HINT: Final = f"ask for one of: {', '.join(NAMED_FORMATS)}"


def split_suffix(name: str) -> tuple[str, ResultFormat | None]:
    """Return an endpoint's name and the format of its suffix, as in ``delays.csv``."""
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        return name, None
    return stem, named_format(suffix)


def named_format(name: str) -> ResultFormat:
    """Return the format of this name; raises ``not_acceptable`` when there is none."""
    if name in NAMED_FORMATS:
        return ResultFormat(name)
    raise HeadwaterError("not_acceptable", f"there is no format {name[:32]!r}", hint=_HINT)


def accepted_format(accept: bytes | None) -> ResultFormat:
    """Return the format that an ``Accept`` header prefers; JSON without one.

    Raises:
        HeadwaterError: ``not_acceptable`` when it names none of ours.
    """
    if accept is None or accept in (b"*/*", b"application/json"):
        return ResultFormat.JSON
    best: tuple[float, ResultFormat] | None = None
    for part in accept.decode("latin-1").split(","):
        media, _, parameters = part.partition(";")
        form = _ACCEPTED.get(media.strip().lower())
        quality = read_quality(parameters)
        if form is not None and quality > 0 and (best is None or quality > best[0]):
            best = (quality, form)
    if best is None:
        raise HeadwaterError("not_acceptable", "Accept names no format that results come in", hint=_HINT)
    return best[1]


def read_quality(parameters: str) -> float:
    """Return the weight among a media type's or a coding's parameters: 1 without one, 0 for one that is no number."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
