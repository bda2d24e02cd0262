"""The calls about jobs: scoring datasets, and looking at what is under way."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from headwater.client.calls import Call, get, read_object, segment

FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
"""The states of a job that nothing follows."""


def batch(
    model: str,
    dataset: str,
    *,
    version: int | None = None,
    where: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    columns: Mapping[str, str] | None = None,
    as_of: str | None = None,
    on_error: Literal["null", "stop"] = "stop",
    key: str | None = None,
) -> Call[dict[str, Any]]:
    """Have a model look at the rows of a dataset; by its key (a fresh one unless given) a retry starts no other job."""
    pinned = f"/versions/{version}" if version is not None else ""
    asked = {
        "dataset": dataset,
        "where": where,
        "since": _instant(since),
        "until": _instant(until),
        "columns": dict(columns or {}),
        "as_of": as_of,
        "on_error": on_error,
    }
    return Call(
        "POST",
        f"/v1/models/{segment(model)}{pinned}/batch",
        read_object,
        headers={"Content-Type": "application/json", "Idempotency-Key": key or secrets.token_hex(16)},
        body=json.dumps({name: value for name, value in asked.items() if value is not None}).encode(),
    )


def find(job: str) -> Call[dict[str, Any]]:
    """Look at a job."""
    return get("/v1/jobs", job)


def recent(limit: int) -> Call[dict[str, Any]]:
    """List the newest jobs."""
    return Call("GET", "/v1/jobs", read_object, params=(("limit", str(limit)),))


def cancel(job: str) -> Call[dict[str, Any]]:
    """Cancel a job."""
    return Call("DELETE", f"/v1/jobs/{segment(job)}", read_object)


def _instant(at: datetime | str | None) -> str | None:
    return at.isoformat() if isinstance(at, datetime) else at
