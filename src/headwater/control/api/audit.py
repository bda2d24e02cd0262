"""The audit log: searched, taken away as lines of JSON, and its chain of hashes held against itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema
from pydantic import AwareDatetime

from headwater.control.api.auth import caller_of
from headwater.control.api.pages import Page, PageQuery, read_text, take_page, unknown_cursor, write_cursor
from headwater.control.api.schemas import AuditOut
from headwater.control.api.streams import NDJSON, stream_lines
from headwater.control.audit.checkpoints import current_archive
from headwater.control.audit.exporting import PAGE, plain
from headwater.control.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from headwater.control.audit.verify import verify_chain
from headwater.control.orgs.models import Organization
from headwater.core.errors import HeadwaterError
from headwater.core.ids import parse_id

router = Router(tags=["Audit"])
AUDIT = "/{org}/audit"
SEARCHED: Final = 50_000
"""Events looked at for one page, however rare what is looked for."""

_RECORD: Final = {
    "type": "object",
    "description": "An event with all its fields: `actor_kind`, `actor_id`, `actor_label`, `before`, `after`, …",
    "required": ["id", "organization_id", "n", "at", "action", "prev_hash", "hash"],
    "properties": {
        "id": {"type": "string"},
        "organization_id": {"type": "string"},
        "n": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "action": {"type": "string"},
        "prev_hash": {"type": "string"},
        "hash": {"type": "string"},
    },
    "additionalProperties": True,
}


class EventsAsked(Schema):
    """Which events are asked for."""

    action: str | None = Field(
        None, max_length=100, description="An action, or the beginning of some", examples=["access.key."]
    )
    actor: str | None = Field(None, max_length=254, description="Id or label of who acted")
    target: str | None = Field(None, max_length=100, description="Id of what was acted upon")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    def found(self, org: Organization) -> QuerySet[AuditEvent]:
        """Return the events of ``org`` that are asked for."""
        events = AuditEvent.objects.filter(org_id=org.pk)
        if self.action:
            events = events.filter(action__startswith=self.action)
        if self.actor:
            events = events.filter(actor_id=self.actor) | events.filter(actor_label=self.actor)
        if self.target:
            events = events.filter(target_id=self.target)
        if self.since:
            events = events.filter(at__gte=self.since)
        if self.until:
            events = events.filter(at__lt=self.until)
        return events


class AuditQuery(EventsAsked, PageQuery):
    """Which events are asked for, a page at a time."""


class ExportQuery(EventsAsked):
    """Which events are taken away."""

    after: int = Field(0, ge=0, description="Only those after the one of this `n`: where an export broke off")


class ChainOut(Schema):
    """Whether the chain of hashes holds."""

    whole: bool
    events: int
    checkpoints: int
    problem: str


class CheckpointOut(Schema):
    """A signed statement of how far the chain reached, and the digest of its events in the lake."""

    n: int
    first: int
    hash: str
    at: datetime
    segment_sha256: str
    signature: str

    @classmethod
    def show(cls, row: AuditCheckpoint) -> CheckpointOut:
        """Return what the API says about ``row``."""
        return cls(
            n=row.n, first=row.first, hash=row.hash, at=row.at, segment_sha256=row.segment_sha256,
            signature=row.signature,
        )  # fmt: skip


@router.get(AUDIT, response=Page[AuditOut])
def list_audit(request: HttpRequest, org: str, query: Annotated[AuditQuery, Query(...)]) -> Page[AuditOut]:
    """Search an organisation's audit log, newest first.

    A search looks at 50,000 events a page, so that a page may hold fewer than `limit`, even none, and still have a
    `next`: the search goes on from there.
    """
    home = _home(request, org)
    head = AuditHead.objects.filter(org_id=home.pk).first()
    below = _number(query.cursor) if query.cursor is not None else (head.n if head else 0) + 1
    first = max(below - SEARCHED, 0)
    found = list(query.found(home).filter(n__lt=below, n__gte=first).order_by("-n")[: query.limit + 1])
    shown = found[: query.limit]
    further = shown[-1].n if len(found) > query.limit else first
    following = write_cursor(str(further).encode()) if further > 1 else None
    return Page[AuditOut](items=[AuditOut.show(row) for row in shown], next=following)


@router.get(
    AUDIT + "/export",
    openapi_extra={
        "responses": {
            200: {
                "description": "One event a line, oldest first",
                "content": {NDJSON: {"schema": _RECORD}},
            }
        }
    },
)
def export_audit(request: HttpRequest, org: str, query: Annotated[ExportQuery, Query(...)]) -> HttpResponse:
    """Take the audit log away, an event a line, oldest first, in the order of its chain and with its hashes.

    Events arrive as they are read. Where the connection breaks, ask again with `after` set to the last `n` that came.
    """
    home = _home(request, org)
    records = _following(query.found(home), query.after)
    return stream_lines(request, records, name=f"audit-{home.slug}.ndjson")  # type: ignore[return-value]  # it is one


@router.get(AUDIT + "/events/{event}", response=AuditOut)
def get_event(request: HttpRequest, org: str, event: str) -> AuditOut:
    """Show one event."""
    home = _home(request, org)
    row = AuditEvent.objects.filter(org_id=home.pk, pk=parse_id(AuditEvent.prefix, event)).first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no event {event[:100]!r}")
    return AuditOut.show(row)


@router.get(AUDIT + "/chain", response=ChainOut)
def get_chain(request: HttpRequest, org: str) -> ChainOut:
    """Recompute the chain of hashes and say whether it holds."""
    report = verify_chain(_home(request, org).pk, current_archive())
    return ChainOut(whole=report.is_whole, events=report.events, checkpoints=report.checkpoints, problem=report.problem)


@router.get(AUDIT + "/checkpoints", response=Page[CheckpointOut])
def list_checkpoints(request: HttpRequest, org: str, page: Annotated[PageQuery, Query(...)]) -> Page[CheckpointOut]:
    """List the signed checkpoints of the chain, newest first."""
    rows = AuditCheckpoint.objects.filter(org_id=_home(request, org).pk)
    return take_page(rows, page, CheckpointOut.show, newest_first=True)


def _home(request: HttpRequest, org: str) -> Organization:
    caller = caller_of(request)
    home = caller.organization(org)
    caller.need("audit.read", home)
    return home


def _number(cursor: str) -> int:
    text = read_text(cursor)
    if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - what a database can hold
        raise unknown_cursor(cursor)
    return int(text)


def _following(events: QuerySet[AuditEvent], after: int) -> Iterator[dict[str, Any]]:
    """Yield events as records in pages, with flat memory."""
    while page := list(events.filter(n__gt=after).order_by("n")[:PAGE]):
        yield from map(plain, page)
        after = page[-1].n
