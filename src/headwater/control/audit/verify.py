"""Checking that a chain is whole: nothing changed, nothing missing, nothing put in between."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from headwater.control.audit.models import AuditEvent, AuditHead
from headwater.control.audit.record import event_hash


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a verification found. ``problem`` names the first event that does not fit; empty: the chain is whole."""

    org_id: uuid.UUID
    events: int
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Return whether nothing was found."""
        return not self.problem


def verify_chain(org_id: uuid.UUID) -> ChainReport:
    """Recompute every hash of one organisation's chain, oldest first."""
    number, previous = 0, ""
    for event in AuditEvent.objects.filter(org_id=org_id).order_by("n").iterator(chunk_size=2_000):
        if event.n != number + 1:
            return ChainReport(org_id, number, f"event {number + 1} is missing")
        if event.prev_hash != previous:
            return ChainReport(org_id, number, f"event {event.n} does not follow event {number}")
        if event_hash(event) != event.hash:
            return ChainReport(org_id, number, f"event {event.n} was altered")
        number, previous = event.n, event.hash
    head = AuditHead.objects.filter(org_id=org_id).first()
    if head is not None and head.n > number:
        return ChainReport(org_id, number, f"the newest events are missing: {number + 1} to {head.n}")
    if (head.n, head.hash) != (number, previous) if head else number:
        return ChainReport(org_id, number, f"the chain's recorded end does not match event {number}")
    return ChainReport(org_id, number)


def verify_all() -> list[ChainReport]:
    """Verify every chain there is."""
    known = set(AuditHead.objects.values_list("org_id", flat=True))
    known |= set(AuditEvent.objects.order_by().values_list("org_id", flat=True).distinct())
    return [verify_chain(org_id) for org_id in sorted(known)]
