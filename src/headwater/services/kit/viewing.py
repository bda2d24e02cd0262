"""Readers of the console as callers: control says who reads, and their own grants and policies decide.

Routes that take a ``Viewing`` lie below ``/internal/v1``, which the node token guards, so only control can ask as
somebody; what it hands over of the reader is what a key of theirs would hold.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, Field

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import KeySpec
from headwater.services.kit.service import Caller, Runtime

_MAX_BYTES: Final = 2 << 20
"""A page shows a few rows; what is longer is for programs."""
_MOST_BYTES: Final = 64 << 20
"""What control may ask for: a chart's rows, or a file for its reader. The answer is held in memory on its way."""


class Viewing(BaseModel):
    """Who reads, the parameters as a query string would hold them, and how the answer is wanted."""

    viewer: KeySpec
    parameters: dict[str, str | list[str]] = {}
    accept: str = "application/json"
    max_bytes: int = Field(_MAX_BYTES, ge=1, le=_MOST_BYTES)
    if_none_match: str = ""


def as_viewer(runtime: Runtime, environment_id: str, viewing: Viewing) -> Caller:
    """Return the reader as a caller; raises ``not_found`` where the environment is not served."""
    environment = runtime.environments.get(environment_id)
    if environment is None:
        raise HeadwaterError("not_found", f"this node serves no environment {environment_id[:64]!r}")
    return Caller(viewing.viewer, environment)
