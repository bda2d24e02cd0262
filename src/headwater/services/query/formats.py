"""The formats of a result, and which one a request asks for: by suffix, by ``?format=``, else by ``Accept``."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from headwater.core.errors import HeadwaterError


class ResultFormat(StrEnum):
    """A format that results come in."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW = "arrow"


MEDIA_TYPES: Final = MappingProxyType(
    {
        ResultFormat.JSON: "application/json",
        ResultFormat.NDJSON: "application/x-ndjson",
        ResultFormat.CSV: "text/csv; charset=utf-8; header=present",
        ResultFormat.ARROW: "application/vnd.apache.arrow.stream",
    }
)
_ACCEPTED: Final = MappingProxyType(
    {
        "application/json": ResultFormat.JSON,
        "application/x-ndjson": ResultFormat.NDJSON,
        "application/ndjson": ResultFormat.NDJSON,
        "application/jsonl": ResultFormat.NDJSON,
        "text/csv": ResultFormat.CSV,
        "application/vnd.apache.arrow.stream": ResultFormat.ARROW,
        "*/*": ResultFormat.JSON,
        "application/*": ResultFormat.JSON,
        "text/*": ResultFormat.CSV,
    }
)
_HINT: Final = f"ask for one of: {', '.join(ResultFormat)}"


def split_suffix(name: str) -> tuple[str, ResultFormat | None]:
    """Return an endpoint's name and the format of its suffix, as in ``delays.csv``."""
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        return name, None
    return stem, named_format(suffix)


def named_format(name: str) -> ResultFormat:
    """Return the format of this name; raises ``not_acceptable`` when there is none."""
    try:
        return ResultFormat(name)
    except ValueError:
        raise HeadwaterError("not_acceptable", f"there is no format {name[:32]!r}", hint=_HINT) from None


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
        quality = _quality(parameters)
        if form is not None and quality > 0 and (best is None or quality > best[0]):
            best = (quality, form)
    if best is None:
        raise HeadwaterError("not_acceptable", "Accept names no format that results come in", hint=_HINT)
    return best[1]


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
