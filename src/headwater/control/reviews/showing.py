"""A task's payload in the order in which people read it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from headwater.control.reviews.decisions import MAX_CHANGES
from headwater.control.reviews.models import ReviewTask
from headwater.core.errors import HeadwaterError


@dataclass(frozen=True, slots=True)
class Facts:
    """What a page shows of a task: names and values under headings, rows as they came, what is wrong with them."""

    sections: list[tuple[str, list[tuple[str, Any]]]] = field(default_factory=list)
    raws: list[tuple[str, str, list[dict[str, Any]]]] = field(default_factory=list)
    fields: str = ""


def facts_of(task: ReviewTask) -> Facts:
    """Return a task's payload for a page. ``fields`` is the row as text to be edited, where it is one."""
    payload = task.payload
    if "inputs" in payload or "outputs" in payload:
        own = {
            "version": payload.get("version"), "route": payload.get("route"),
            "predicted at": str(payload.get("predicted_at") or "")[:19], "prediction": payload.get("prediction_id"),
        }  # fmt: skip
        sections = [
            ("What the model said", list(payload.get("outputs", {}).items())),
            ("From these inputs", list(payload.get("inputs", {}).items())),
            ("About it", [(name, value) for name, value in own.items() if value not in (None, "")]),
        ]
        return Facts(sections=[(title, pairs) for title, pairs in sections if pairs])
    if "samples" in payload:
        about = [
            (name, payload[name])
            for name in ("code", "path", "open", "count", "contract_version", "first_at", "last_at")
            if payload.get(name)
        ]
        raws = [
            (one.get("quarantine_id", ""), one.get("raw") or "", one.get("errors", [])) for one in payload["samples"]
        ]
        return Facts(sections=[("The group", [(name.replace("_", " "), value) for name, value in about])], raws=raws)
    raw = payload.get("raw") or ""
    about = [
        (name.replace("_", " "), payload[name])
        for name in ("received_at", "contract_version", "attempt")
        if payload.get(name)
    ]
    return Facts(
        sections=[("The row", about)] if about else [],
        raws=[(payload.get("quarantine_id", ""), raw, payload.get("errors", []))],
        fields=_suspects(raw, payload.get("errors", [])),
    )


def changes_from(text: str) -> dict[str, Any]:
    """Return the changes that somebody typed as a JSON object; raises ``invalid_parameter``."""
    try:
        changes = json.loads(text or "{}")
    except ValueError as error:
        raise _refuse(f"it is not JSON: {error}") from error
    if not isinstance(changes, dict) or len(changes) > MAX_CHANGES:
        raise _refuse('it must be an object such as {"wind_speed": 12.5}')
    return changes


def _suspects(raw: str, errors: list[dict[str, Any]]) -> str:
    """Return the fields that something is wrong with, as JSON to be changed: mostly one."""
    try:
        row = json.loads(raw)
    except ValueError:
        return "{}"
    names = {str(error.get("path", "")).strip("/").split("/")[0] for error in errors} - {""}
    if not isinstance(row, dict):
        return "{}"
    return json.dumps({name: row.get(name) for name in sorted(names)}, indent=2, ensure_ascii=False)


def _refuse(what: str) -> HeadwaterError:
    return HeadwaterError(
        "invalid_parameter", f"changes: {what}", extra={"errors": [{"path": "changes", "message": what}]}
    )
