"""Tasks as they come to be: what is shown, whose it is, how soon, and that nothing is opened twice."""

# ruff: noqa: ARG001 - actor is for the decorator

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from headwater.control.kit.actions import Actor, action
from headwater.control.kit.plain import canonical
from headwater.control.orgs.models import Environment
from headwater.control.reviews.models import ReviewQueue, ReviewTask

FEEDER: Final = Actor("system", "reviews.feeder", "Headwater, feeding review queues")
MAX_PAYLOAD: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that is to be opened. ``subject`` is what the verdict is carried out on, ``payload`` what people see."""

    dedupe_key: str
    title: str
    subject: dict[str, Any]
    payload: dict[str, Any]
    authors: tuple[str, ...] = ()
    priority: int = 0


@action("reviews.task.opened", permission=None)
def open_tasks(
    *, actor: Actor, queue: ReviewQueue, environment: Environment, drafts: Sequence[Draft]
) -> list[ReviewTask]:
    """Open tasks but for those whose key the queue had before, whatever became of it; all of them or none."""
    # One feeder at a time: another one then sees what this one opened. SQLite lets one transaction write anyway.
    ReviewQueue.objects.for_org(queue.org_id).select_for_update().get(pk=queue.pk)
    tasks = ReviewTask.objects.for_org(queue.org_id).filter(queue=queue)
    known = set(
        tasks.filter(dedupe_key__in=[draft.dedupe_key for draft in drafts]).values_list("dedupe_key", flat=True)
    )
    due_at = timezone.now() + timedelta(seconds=queue.sla_seconds)
    opened: list[ReviewTask] = []
    for draft in drafts:
        if draft.dedupe_key in known:
            continue
        known.add(draft.dedupe_key)
        payload = _bounded(draft.payload)
        task = ReviewTask(
            org_id=queue.org_id,
            queue=queue,
            environment=environment,
            form_id=queue.form_id,
            dedupe_key=draft.dedupe_key,
            title=draft.title[:300],
            subject=draft.subject,
            payload=payload,
            payload_sha256=hashlib.sha256(canonical(payload).encode()).hexdigest(),
            authors=sorted(set(draft.authors)),
            priority=draft.priority,
            due_at=due_at,
        )
        task.save()
        opened.append(task)
    return opened


def _bounded(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a payload that fits; what is too long is left out, and the payload says so."""
    if len(canonical(payload)) <= MAX_PAYLOAD:
        return payload
    slim = {
        name: value
        for name, value in payload.items()
        if isinstance(value, str | int | float) and len(str(value)) < 1_000  # noqa: PLR2004 - what a line can show
    }
    return slim | {"left_out": sorted(payload.keys() - slim.keys())}
