"""Feeding queues: what services hold that is to be looked at becomes tasks, each thing once.

Each source has a position from which it is read on. It moves in the transaction that opens the tasks, so a feeder that
is killed repeats itself at most, and what it repeats is known by its key. Nothing is taken while a queue is full: it
waits where it lies.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from headwater.control.catalog.data_plane import QuarantineGroup
from headwater.control.orgs.models import Environment
from headwater.control.reviews.conditions import (
    GROUP_NAMES,
    ROW_NAMES,
    compile_condition,
    compile_priority,
    rank,
)
from headwater.control.reviews.drafts import group_draft, group_key, group_prefix, prediction_draft, row_draft
from headwater.control.reviews.models import ReviewCursor, ReviewQueue, ReviewTask
from headwater.control.reviews.opening import FEEDER, Draft, open_tasks
from headwater.control.reviews.plane import KeptRow, ReviewPlane
from headwater.control.reviews.watch import cancel_task
from headwater.core.ids import format_id, parse_id

State = ReviewTask.State
LIVE: Final = (State.OPEN, State.CLAIMED, State.ESCALATED)
BATCH: Final = 100
PAGES: Final = 10
OVERLAP: Final = timedelta(minutes=5)
"""Rows get their identifier before they are durable, so the newest ones seen may have older ones after them."""
HISTORY: Final = timedelta(days=1)
"""How far before its own beginning a queue looks."""
_CUT: Final = "+"
_ROW_PREFIX: Final = "q"


def feed(services: ReviewPlane, queue: ReviewQueue, environment: Environment) -> int:
    """Open what is new for a queue in an environment; return how many tasks.

    Raises:
        HeadwaterError: what the services say, or ``invalid_parameter`` for an expression that fits no longer.
    """
    cursor, _ = ReviewCursor.objects.get_or_create(queue=queue, environment=environment)
    if queue.source != ReviewQueue.Source.QUARANTINE:
        opened = _feed_predictions(services, queue, environment, cursor)
    elif queue.unit == ReviewQueue.Unit.ROW:
        opened = _feed_rows(services, queue, environment, cursor)
    else:
        opened = _feed_groups(services, queue, environment)
    note_cursor(cursor, opened=opened)
    return opened


def note_cursor(cursor: ReviewCursor, *, opened: int = 0, problem: str = "") -> None:
    """Write down when a source was asked, and what kept it from answering."""
    now = timezone.now()
    values = {"asked_at": now, "problem": problem[:300]} | ({"fed_at": now} if opened else {})
    ReviewCursor.objects.filter(pk=cursor.pk).update(**values)


def room(queue: ReviewQueue) -> int:
    """Return how many tasks more may wait in a queue, of a sample how many more may come today."""
    tasks = ReviewTask.objects.for_org(queue.org_id).filter(queue=queue)
    left = queue.max_open - tasks.filter(state__in=LIVE).count()
    if queue.source == ReviewQueue.Source.SAMPLE:
        midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
        left = min(left, queue.per_day - tasks.filter(created_at__gte=midnight).count())
    return max(left, 0)


def _feed_groups(services: ReviewPlane, queue: ReviewQueue, environment: Environment) -> int:
    groups = services.quarantine_groups(environment.public_id, queue.subject or None)
    _cancel_gone(queue, environment, groups)
    condition = compile_condition(queue.condition or "true", GROUP_NAMES)
    priority = compile_priority(queue.priority or "0", GROUP_NAMES)
    drafts: list[Draft] = []
    for group in groups:
        facts = group.model_dump(include=set(GROUP_NAMES))
        if not group.open or condition(facts) is not True:
            continue
        earlier = ReviewTask.objects.for_org(queue.org_id).filter(
            queue=queue, dedupe_key__startswith=group_prefix(environment, group)
        )
        if earlier.filter(state__in=LIVE).exists() or earlier.filter(delivery=ReviewTask.Delivery.PENDING).exists():
            continue
        drafts.append(group_draft(environment, group, earlier.count() + 1, rank(priority(facts))))
    return _open(queue, environment, drafts[: min(room(queue), BATCH)])


def _cancel_gone(queue: ReviewQueue, environment: Environment, groups: Sequence[QuarantineGroup]) -> None:
    """Cancel the tasks of groups that nothing waits in any more: somebody dealt with them elsewhere."""
    waiting = {group_key(group) for group in groups if group.open}
    tasks = ReviewTask.objects.for_org(queue.org_id).filter(queue=queue, environment=environment, state__in=LIVE)
    for task in tasks.order_by("id")[:1_000]:
        if (task.subject["dataset"], task.subject["fingerprint"]) not in waiting:
            cancel_task(actor=FEEDER, task=task, reason="no row of the group waits any more")


def _feed_rows(services: ReviewPlane, queue: ReviewQueue, environment: Environment, cursor: ReviewCursor) -> int:
    condition = compile_condition(queue.condition or "true", ROW_NAMES)
    priority = compile_priority(queue.priority or "0", ROW_NAMES)
    opened, left, after = 0, room(queue), _start(cursor.position)
    for _page in range(PAGES):
        if not left:
            break
        page = services.kept_rows(environment.public_id, queue.subject, after=after, limit=BATCH)
        if not page.rows:
            break
        drafts: list[Draft] = []
        position = ""
        for row in page.rows:
            facts = _row_facts(queue.subject, row)
            if row.state == "open" and condition(facts) is True:
                drafts.append(row_draft(environment, queue.subject, row, rank(priority(facts))))
            position = row.quarantine_id
            if len(drafts) == left:
                break
        is_end = page.is_last and position == page.rows[-1].quarantine_id
        with transaction.atomic():
            count = _open(queue, environment, drafts)
            _move(cursor, position if is_end else _CUT + position)
        opened, left, after = opened + count, left - count, position
        if is_end:
            break
    return opened


def _row_facts(dataset: str, row: KeptRow) -> dict[str, object]:
    return {
        "dataset": dataset, "code": row.first_code, "path": row.first_path,
        "contract_version": row.contract_version, "principal": row.principal_id, "attempt": row.attempt,
    }  # fmt: skip


def _start(position: str) -> str | None:
    """Return the identifier behind which rows are read: a little before the newest one seen."""
    if not position:
        return None
    if position.startswith(_CUT):
        return position.removeprefix(_CUT)
    at_ms = parse_id(_ROW_PREFIX, position).int >> 80
    return format_id(_ROW_PREFIX, uuid.UUID(int=max(at_ms - OVERLAP // timedelta(milliseconds=1), 0) << 80))


def _feed_predictions(services: ReviewPlane, queue: ReviewQueue, environment: Environment, cursor: ReviewCursor) -> int:
    left, is_sample = room(queue), queue.source == ReviewQueue.Source.SAMPLE
    if not left and not is_sample:
        return 0
    since = queue.created_at - HISTORY
    found = services.predictions(
        environment.public_id,
        queue.subject,
        after=int(cursor.position or -1),
        # A sample that is full for today goes past what comes: tomorrow it is about tomorrow.
        limit=min(BATCH, left) or 1,
        since_us=int(since.timestamp() * 1e6),
        condition=queue.condition,
        priority=queue.priority,
        sample_bps=(round(queue.sample_percent * 100) or 1) * (left > 0) if is_sample else 10_000,
    )
    drafts = [prediction_draft(environment, queue.subject, one, rank(one.priority)) for one in found.predictions]
    with transaction.atomic():
        opened = _open(queue, environment, drafts)
        _move(cursor, str(found.position))
    return opened


def _open(queue: ReviewQueue, environment: Environment, drafts: Sequence[Draft]) -> int:
    if not drafts:
        return 0
    return len(open_tasks(actor=FEEDER, queue=queue, environment=environment, drafts=drafts))


def _move(cursor: ReviewCursor, position: str) -> None:
    cursor.position = position
    ReviewCursor.objects.filter(pk=cursor.pk).update(position=position)
