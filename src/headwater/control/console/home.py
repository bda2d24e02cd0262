"""The operations home: the first page of the admin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Max, Min, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from headwater.control.audit.models import AuditEvent
from headwater.control.console.long_lists import newest, owned_by
from headwater.control.console.model_admin import readable_orgs
from headwater.control.console.overview import gather
from headwater.control.kit.models import Outbox
from headwater.control.monitoring.queries import standing_in
from headwater.control.orgs.models import Environment
from headwater.control.reviews.models import ReviewTask
from headwater.control.snapshots.models import Snapshot, SnapshotAck

RECENT_EVENTS: Final = 12


@dataclass(frozen=True, slots=True)
class NodeLine:
    """Which snapshot of an environment a node runs, against the newest."""

    environment: Environment
    node: str
    runs: int | None
    newest: int | None
    error: str

    @property
    def state(self) -> str:
        """Return the state in words."""
        if self.error:
            return "refused"
        if self.runs is None:
            return "no node yet"
        return "current" if self.runs == self.newest else "behind"

    @property
    def tone(self) -> str:
        """Return how the state is coloured."""
        return {"current": "good", "refused": "bad"}.get(self.state, "warn")


def admin_home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the operations home shows to the admin's context."""
    environments = _environments(request, "dataset.read")
    return context | {
        "title": "Overview",
        "overview": gather(environments),
        "snapshots": _node_lines(environments),
        "queues": _queues(request),
        "events": _events(request),
        "alerts": standing_in(_environments(request, "model.read")),
    }


def _environments(request: HttpRequest, permission: str) -> list[Environment]:
    rows = Environment.unscoped.select_related("project", "org").order_by("org__slug", "project__slug", "key")
    if not getattr(request.user, "is_superuser", False):
        rows = rows.filter(org_id__in=readable_orgs(request, permission))
    return list(rows)


def _node_lines(environments: list[Environment]) -> list[NodeLine]:
    keys = [environment.pk for environment in environments]
    newest = dict(
        Snapshot.unscoped.filter(environment__in=keys)
        .order_by()
        .values_list("environment")
        .annotate(newest=Max("number"))
    )
    acks: dict[Any, list[SnapshotAck]] = {}
    for ack in SnapshotAck.objects.filter(environment__in=keys).order_by("node"):
        acks.setdefault(ack.environment_id, []).append(ack)
    lines: list[NodeLine] = []
    for environment in environments:
        number = newest.get(environment.pk)
        found = acks.get(environment.pk, [])
        lines += [NodeLine(environment, ack.node, ack.number, number, ack.error) for ack in found]
        if not found and number is not None:
            lines.append(NodeLine(environment, "", None, number, ""))
    return lines


@dataclass(frozen=True, slots=True)
class QueueLine:
    """Something that waits to be done: how much, since when, and whether that is too long."""

    title: str
    waiting: int
    oldest_at: datetime | None = None
    problem: str = ""
    url: str = ""


def _queues(request: HttpRequest) -> list[QueueLine]:
    """Return what waits in control's own queues, as far as the reader operates them."""
    lines: list[QueueLine] = []
    if getattr(request.user, "is_superuser", False):
        waiting = Outbox.objects.filter(published_at=None)
        figures = waiting.aggregate(count=Count("pk"), oldest=Min("created_at"), attempts=Max("attempts"))
        failed = waiting.exclude(last_error="").order_by("created_at").values_list("last_error", flat=True).first()
        page = reverse("admin:kit_outbox_changelist")
        lines.append(QueueLine("Events to publish", figures["count"], figures["oldest"], failed or "", page))
    seen = [environment.pk for environment in _environments(request, "review.read")]
    tasks = ReviewTask.unscoped.filter(environment__in=seen)
    open_tasks = tasks.filter(state__in=(ReviewTask.State.OPEN, ReviewTask.State.ESCALATED))
    late = Count("pk", filter=Q(due_at__lt=timezone.now()))
    figures = open_tasks.aggregate(count=Count("pk"), oldest=Min("created_at"), late=late)
    problem = f"{figures['late']} past their due time" if figures["late"] else ""
    lines.append(QueueLine("Review tasks", figures["count"], figures["oldest"], problem))
    verdicts = tasks.filter(delivery__in=(ReviewTask.Delivery.PENDING, ReviewTask.Delivery.FAILED))
    failed_ones = Count("pk", filter=Q(delivery=ReviewTask.Delivery.FAILED))
    figures = verdicts.aggregate(count=Count("pk"), oldest=Min("decided_at"), failed=failed_ones)
    problem = f"{figures['failed']} failed for good" if figures["failed"] else ""
    lines.append(QueueLine("Verdicts to carry out", figures["count"], figures["oldest"], problem))
    return lines


def _events(request: HttpRequest) -> list[AuditEvent]:
    events = AuditEvent.objects.order_by("-pk")
    if not getattr(request.user, "is_superuser", False):
        events = owned_by(newest(events), readable_orgs(request, "audit.read"))
    return list(events.defer("before_json", "after_json", "related_json")[:RECENT_EVENTS])
