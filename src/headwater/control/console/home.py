"""The operations home: the first page of the admin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest

from headwater.control.audit.models import AuditEvent
from headwater.control.console.model_admin import readable_orgs
from headwater.control.console.overview import gather
from headwater.control.monitoring.queries import standing_in
from headwater.control.orgs.models import Environment
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
        "events": _events(request),
        "alerts": standing_in(_environments(request, "model.read")),
    }


def _environments(request: HttpRequest, permission: str) -> list[Environment]:
    rows = Environment.unscoped.select_related("project", "org").order_by("org__slug", "project__slug", "key")
    if not getattr(request.user, "is_superuser", False):
        rows = rows.filter(org_id__in=readable_orgs(request, permission))
    return list(rows)


def _node_lines(environments: list[Environment]) -> list[NodeLine]:
    lines: list[NodeLine] = []
    for environment in environments:
        newest = (
            Snapshot.objects.for_org(environment.org_id)
            .filter(environment=environment)
            .order_by("-number")
            .values_list("number", flat=True)
            .first()
        )
        acks = list(SnapshotAck.objects.filter(environment=environment).order_by("node"))
        lines += [NodeLine(environment, ack.node, ack.number, newest, ack.error) for ack in acks]
        if not acks and newest is not None:
            lines.append(NodeLine(environment, "", None, newest, ""))
    return lines


def _events(request: HttpRequest) -> list[AuditEvent]:
    events = AuditEvent.objects.order_by("-at", "-n")
    if not getattr(request.user, "is_superuser", False):
        events = events.filter(org_id__in=readable_orgs(request, "audit.read"))
    return list(events[:RECENT_EVENTS])
