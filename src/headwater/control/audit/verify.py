"""Checking that a chain is whole: nothing changed, nothing missing, nothing put in between."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from headwater.control.audit.checkpoints import Archive, contradiction, marks
from headwater.control.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from headwater.control.audit.record import event_hash

PAGE: Final = 2_000


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a verification found. ``problem`` names the first event that does not fit; empty: the chain is whole."""

    org_id: uuid.UUID
    events: int
    problem: str = ""
    checkpoints: int = 0

    @property
    def is_whole(self) -> bool:
        """Return whether nothing was found."""
        return not self.problem


def verify_chain(org_id: uuid.UUID, archive: Archive | None = None) -> ChainReport:
    """Recompute every hash of one organisation's chain, oldest first, and hold it against its checkpoints.

    Events may be added meanwhile. Without an ``archive`` neither signatures nor the lake are looked at.
    """
    marked = marks(org_id)
    report = _walk(org_id, marked)
    problem = report.problem or (contradiction(org_id, archive) if archive else "")
    return replace(report, problem=problem, checkpoints=len(marked))


def _walk(org_id: uuid.UUID, marked: Mapping[int, str]) -> ChainReport:
    # The end is read first: what is appended while we read lies beyond it.
    head = AuditHead.objects.filter(org_id=org_id).first() or AuditHead(org_id=org_id)
    number, previous, end = 0, "", ""
    for event in _events(org_id):
        problem = _misfit(event, number, previous, marked)
        if problem:
            return ChainReport(org_id, number, problem)
        number, previous = event.n, event.hash
        if number == head.n:
            end = event.hash
    if number < head.n:
        return ChainReport(org_id, number, f"the newest events are missing: {number + 1} to {head.n}")
    if end != head.hash or (number and not AuditHead.objects.filter(org_id=org_id).exists()):
        return ChainReport(org_id, number, f"the chain's recorded end does not match event {head.n}")
    return ChainReport(org_id, number)


def _misfit(event: AuditEvent, number: int, previous: str, marked: Mapping[int, str]) -> str:
    """Return why ``event`` cannot come after event ``number`` whose hash is ``previous``; empty: it can."""
    if event.n != number + 1:
        return f"event {number + 1} is missing"
    if event.prev_hash != previous:
        return f"event {event.n} does not follow event {number}"
    if event_hash(event) != event.hash:
        return f"event {event.n} was altered"
    if marked.get(event.n, event.hash) != event.hash:
        return f"event {event.n} is not the one that its checkpoint knows"
    return ""


def _events(org_id: uuid.UUID) -> Iterator[AuditEvent]:
    """Return an organisation's events in order, in pages: one long query would keep SQLite's writers waiting."""
    after = -1
    while page := list(AuditEvent.objects.filter(org_id=org_id, n__gt=after).order_by("n")[:PAGE]):
        yield from page
        after = page[-1].n


def verify_all(archive: Archive | None = None) -> list[ChainReport]:
    """Verify every chain there is, with its checkpoints where there is an ``archive``."""
    known = set(AuditHead.objects.values_list("org_id", flat=True))
    known |= set(AuditCheckpoint.objects.order_by().values_list("org_id", flat=True).distinct())
    known |= set(AuditEvent.objects.order_by().values_list("org_id", flat=True).distinct())
    return [verify_chain(org_id, archive) for org_id in sorted(known)]
