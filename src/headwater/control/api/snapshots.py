"""Published snapshots, and which node runs which. What a snapshot holds goes to the services alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from headwater.control.api.auth import caller_of
from headwater.control.api.pages import Page, PageQuery, take_rows
from headwater.control.orgs.models import Environment
from headwater.control.snapshots.models import Snapshot, SnapshotAck
from headwater.core.errors import HeadwaterError
from headwater.core.ids import format_id

router = Router(tags=["Snapshots"])
ENVIRONMENT = "/{org}/projects/{project}/environments/{environment}"


class AckOut(Schema):
    """What one node runs. An ``error`` is why it could not apply the snapshot of that number."""

    node: str
    number: int
    applied_at: datetime
    error: str

    @classmethod
    def show(cls, row: SnapshotAck) -> AckOut:
        """Return what the API says about ``row``."""
        return cls(node=row.node, number=row.number, applied_at=row.applied_at, error=row.error)


class NewestOut(Schema):
    """The newest snapshot of an environment and what every node says it runs."""

    number: int | None
    sha256: str | None
    created_at: datetime | None
    problems: list[dict[str, str]]
    acks: list[AckOut]


class SnapshotOut(Schema):
    """A published snapshot, and the nodes whose last word is about it."""

    id: str
    number: int
    sha256: str
    signature: str
    schema_version: int
    created_at: datetime
    problems: list[dict[str, str]] = Field(description="What could not be compiled; the last good one stands in")
    acks: list[AckOut]

    @classmethod
    def show(cls, row: Snapshot, acks: Iterable[SnapshotAck]) -> SnapshotOut:
        """Return what the API says about ``row``."""
        return cls(
            id=format_id(Snapshot.prefix, row.pk), number=row.number, sha256=row.sha256, signature=row.signature,
            schema_version=row.schema_version, created_at=row.created_at, problems=row.problems,
            acks=[AckOut.show(ack) for ack in acks if ack.number == row.number],
        )  # fmt: skip


@router.get(ENVIRONMENT + "/snapshot", response=NewestOut)
def get_newest_snapshot(request: HttpRequest, org: str, project: str, environment: str) -> NewestOut:
    """Show the newest snapshot and which node runs what."""
    home = _home(request, org, project, environment)
    newest = Snapshot.objects.for_org(home.org_id).filter(environment=home).order_by("-number").first()
    acks = SnapshotAck.objects.filter(environment=home).order_by("node")
    return NewestOut(
        number=newest and newest.number,
        sha256=newest and newest.sha256,
        created_at=newest and newest.created_at,
        problems=newest.problems if newest else [],
        acks=[AckOut.show(ack) for ack in acks],
    )


@router.get(ENVIRONMENT + "/snapshots", response=Page[SnapshotOut])
def list_snapshots(
    request: HttpRequest, org: str, project: str, environment: str, page: Annotated[PageQuery, Query(...)]
) -> Page[SnapshotOut]:
    """List an environment's snapshots, newest first, each with the nodes that run it."""
    home = _home(request, org, project, environment)
    rows = Snapshot.objects.for_org(home.org_id).filter(environment=home).defer("payload")
    shown, following = take_rows(rows, page, newest_first=True)
    numbers = [row.number for row in shown]
    acks = list(SnapshotAck.objects.filter(environment=home, number__in=numbers).order_by("node"))
    return Page[SnapshotOut](items=[SnapshotOut.show(row, acks) for row in shown], next=following)


@router.get(ENVIRONMENT + "/snapshots/{int:snapshot}", response=SnapshotOut)
def get_snapshot(request: HttpRequest, org: str, project: str, environment: str, snapshot: int) -> SnapshotOut:
    """Show one snapshot and the nodes that run it."""
    home = _home(request, org, project, environment)
    rows = Snapshot.objects.for_org(home.org_id).filter(environment=home, number=snapshot).defer("payload")
    row = rows.first()
    if row is None:
        raise HeadwaterError("not_found", f"there is no snapshot {snapshot}")
    return SnapshotOut.show(row, SnapshotAck.objects.filter(environment=home, number=snapshot).order_by("node"))


def _home(request: HttpRequest, org: str, project: str, environment: str) -> Environment:
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("dataset.read", home)
    return home
