"""Checking that a chain is whole: nothing changed, nothing missing, nothing put in between."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headwater.control.audit.models import AuditEvent, AuditHead
from headwater.control.audit.record import event_hash

PAGE: Final = 2_000


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
    """Recompute every hash of one organisation's chain, oldest first. Events may be added meanwhile."""
    # The end is read first: what is appended while we read lies beyond it.
    head = AuditHead.objects.filter(org_id=org_id).first() or AuditHead(org_id=org_id)
    number, previous, end = 0, "", ""
    for event in _events(org_id):
        if event.n != number + 1:
            return ChainReport(org_id, number, f"event {number + 1} is missing")
        if event.prev_hash != previous:
            return ChainReport(org_id, number, f"event {event.n} does not follow event {number}")
        if event_hash(event) != event.hash:
            return ChainReport(org_id, number, f"event {event.n} was altered")
        number, previous = event.n, event.hash
        if number == head.n:
            end = event.hash
    if number < head.n:
        return ChainReport(org_id, number, f"the newest events are missing: {number + 1} to {head.n}")
    if end != head.hash or (number and not AuditHead.objects.filter(org_id=org_id).exists()):
        return ChainReport(org_id, number, f"the chain's recorded end does not match event {head.n}")
    return ChainReport(org_id, number)


def _events(org_id: uuid.UUID) -> Iterator[AuditEvent]:
    """Return an organisation's events in order, in pages: one long query would keep SQLite's writers waiting."""
    after = -1
    while page := list(AuditEvent.objects.filter(org_id=org_id, n__gt=after).order_by("n")[:PAGE]):
        yield from page
        after = page[-1].n


def verify_all() -> list[ChainReport]:
    """Verify every chain there is."""
    known = set(AuditHead.objects.values_list("org_id", flat=True))
    known |= set(AuditEvent.objects.order_by().values_list("org_id", flat=True).distinct())
    return [verify_chain(org_id) for org_id in sorted(known)]
