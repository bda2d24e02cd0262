"""The audit log as plain records, for other systems to keep or search."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from headwater.control.audit.models import AuditEvent, AuditHead
from headwater.core.ids import format_id

PAGE: Final = 2_000
_COPIED: Final = (
    "n", "action", "actor_kind", "actor_id", "actor_label", "on_behalf_of", "target_kind", "target_id", "target_label",
    "before", "after", "related", "reason", "request_id", "group_id", "ip", "prev_hash", "hash",
)  # fmt: skip


def lines(*, org_id: uuid.UUID | None = None, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Yield the events of one organisation, or of all, in the order of their chains; in pages, with flat memory."""
    chains = [org_id] if org_id else AuditHead.objects.order_by("org_id").values_list("org_id", flat=True)
    for chain in chains:
        events = AuditEvent.objects.filter(org_id=chain)
        if since is not None:
            events = events.filter(at__gte=since)
        after = 0
        while page := list(events.filter(n__gt=after).order_by("n")[:PAGE]):
            yield from map(plain, page)
            after = page[-1].n


def plain(event: AuditEvent) -> dict[str, Any]:
    """Return an event as a record of JSON."""
    return {
        "id": event.public_id,
        "organization_id": format_id("org", event.org_id),
        "at": event.at.astimezone(UTC).isoformat(),
        **{name: getattr(event, name) for name in _COPIED},
    }
