"""What becomes of quarantined rows and logged predictions when people are to look at them."""

from __future__ import annotations

from typing import Any

from headwater.control.catalog.data_plane import QuarantineGroup
from headwater.control.orgs.models import Environment
from headwater.control.reviews.opening import Draft
from headwater.control.reviews.plane import KeptRow, LoggedPrediction

MAX_RAW = 20_000


def group_key(group: QuarantineGroup) -> tuple[str, str]:
    """Return what tells the groups of an environment apart."""
    return group.dataset, group.fingerprint


def group_prefix(environment: Environment, group: QuarantineGroup) -> str:
    """Return what the keys of a group's tasks begin with: rows that come after a verdict are a task of their own."""
    return f"group:{environment.public_id}:{group.dataset}:{group.fingerprint}:"


def group_draft(environment: Environment, group: QuarantineGroup, number: int, priority: int) -> Draft:
    """Return the task about a group of quarantined rows, the ``number``-th one about it."""
    payload = group.model_dump(mode="json", exclude={"principal_ids"})
    for sample in payload["samples"]:
        sample["raw"] = (sample["raw"] or "")[:MAX_RAW] or None
    return Draft(
        dedupe_key=f"{group_prefix(environment, group)}{number}",
        title=f"{group.dataset}: {group.code} at {group.path or 'the row'}, {group.open} rows",
        subject={"dataset": group.dataset, "fingerprint": group.fingerprint},
        payload=payload,
        authors=tuple(group.principal_ids),
        priority=priority,
    )


def row_draft(environment: Environment, dataset: str, row: KeptRow, priority: int) -> Draft:
    """Return the task about one quarantined row."""
    payload: dict[str, Any] = {
        "dataset": dataset,
        "quarantine_id": row.quarantine_id,
        "received_at": row.received_at,
        "contract_version": row.contract_version,
        "attempt": row.attempt,
        "raw": (row.raw or "")[:MAX_RAW] or None,
        "errors": [error.model_dump(mode="json") for error in row.errors],
    }
    return Draft(
        dedupe_key=f"row:{environment.public_id}:{row.quarantine_id}",
        title=f"{dataset}: {row.first_code} at {row.first_path or 'the row'}",
        subject={"dataset": dataset, "quarantine_id": row.quarantine_id, "raw_sha256": row.raw_sha256},
        payload=payload,
        authors=(row.principal_id,) if row.principal_id else (),
        priority=priority,
    )


def prediction_draft(environment: Environment, model: str, one: LoggedPrediction, priority: int) -> Draft:
    """Return the task about one prediction."""
    said = ", ".join(f"{name} {_short(value)}" for name, value in list(one.outputs.items())[:3])
    payload = one.model_dump(mode="json", exclude={"seq", "priority", "principal_id"}) | {"model": model}
    return Draft(
        dedupe_key=f"prediction:{environment.public_id}:{one.prediction_id}",
        title=f"{model}: {said}",
        subject={"model": model, "prediction_id": one.prediction_id, "version": one.version, "inputs": one.inputs},
        payload=payload,
        authors=(one.principal_id,) if one.principal_id else (),
        priority=priority,
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:60]
