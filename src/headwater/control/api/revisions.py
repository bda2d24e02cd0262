"""Optimistic locking: a change says which revision it saw, and is refused where there is another one by now."""

from __future__ import annotations

import re
from typing import Any, Final

from django.http import HttpRequest

from headwater.core.errors import HeadwaterError

IF_MATCH: Final[dict[str, Any]] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": '"3"',
    "description": "The revision last seen, in quotes; another one answers 409. In a body it is `revision`.",
}
LOCKED: Final[dict[str, Any]] = {"parameters": [IF_MATCH]}
"""What the document says about an operation without a body that asks for a revision."""
_TAG: Final = re.compile(r'(?:W/)?"?(\d{1,18})"?')


def check_revision(request: HttpRequest, row: Any, revision: int | None = None) -> None:
    """Raise ``conflict`` when the caller last saw another revision of ``row``.

    The caller says which one it saw in the body (``revision``), in ``If-Match``, or not at all.

    Raises:
        HeadwaterError: ``conflict``; ``invalid_header`` for an ``If-Match`` that names no revision.
    """
    check_number(request, row.revision, str(row), revision)


def check_number(request: HttpRequest, actual: int, what: str, revision: int | None = None) -> None:
    """Raise ``conflict`` when the caller last saw another revision of ``what`` than ``actual``, 0 where it is not."""
    for seen in (revision, _matched(request)):
        if seen is not None and seen != actual:
            raise HeadwaterError(
                "conflict", f"{what} is at revision {actual}, not {seen}", hint="load it again and repeat the change"
            )


def _matched(request: HttpRequest) -> int | None:
    text = request.headers.get("If-Match", "").strip()
    if text in ("", "*"):
        return None
    found = _TAG.fullmatch(text)
    if found is None:
        raise HeadwaterError(
            "invalid_header", f"If-Match {text[:40]!r} names no revision", hint='send the revision in quotes: "3"'
        )
    return int(found[1])
