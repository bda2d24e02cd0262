"""The outbox: events written in the transaction that made them true, published afterwards at least once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from headwater.control.kit.models import Outbox
from headwater.core.ids import new_uuid

Publisher = Callable[[Outbox], None]
BATCH: Final = 100
FIRST_RETRY: Final = timedelta(seconds=5)
LAST_RETRY: Final = timedelta(hours=1)


def put(*, topic: str, key: str, payload: dict[str, Any]) -> Outbox:
    """Write an event; only inside a transaction, or it could exist without what it tells of."""
    if not connection.in_atomic_block:
        raise RuntimeError("outbox rows belong to the transaction that made them true")
    return Outbox.objects.create(id=new_uuid(), topic=topic, key=key, payload=payload)


def forget(before: datetime) -> int:
    """Delete the events that were published before an instant; return how many."""
    deleted, _ = Outbox.objects.filter(published_at__lt=before).delete()
    return deleted


def relay(publish: Publisher, *, limit: int = BATCH) -> int:
    """Publish up to ``limit`` waiting events in order and mark each; return how many were published.

    Rows are locked while they are published, so two relays never publish the same event at once. An event whose
    publisher fails stays and is tried again later and later; it does not hold back the others.
    """
    now = timezone.now()
    published = 0
    with transaction.atomic():
        rows = Outbox.objects.filter(published_at=None).exclude(retry_at__gt=now).order_by("id")
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        for row in rows[:limit]:
            try:
                publish(row)
            except Exception as error:  # noqa: BLE001 - whatever a publisher raises, the event must stay
                row.attempts += 1
                row.retry_at = now + min(FIRST_RETRY * 2 ** (row.attempts - 1), LAST_RETRY)
                row.last_error = f"{type(error).__name__}: {error}"[:500]
            else:
                row.published_at = now
                published += 1
            row.save(update_fields=["attempts", "retry_at", "last_error", "published_at"])
    return published
