"""Quarantine, audit log and snapshots: what operators look at and decide."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema
from pydantic import AwareDatetime

from headwater.control.access.authority import Scope
from headwater.control.api.auth import caller_of
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.schemas import AuditOut
from headwater.control.audit.models import AuditEvent
from headwater.control.audit.checkpoints import current_archive
from headwater.control.audit.verify import verify_chain
from headwater.control.catalog.data_plane import QuarantineGroup, Verdict, connect
from headwater.control.catalog.models import QuarantineCase
from headwater.control.catalog.quarantine import discard_case, replay_case
from headwater.control.snapshots.models import Snapshot, SnapshotAck

router = Router(tags=["Operations"])
ENVIRONMENT = "/{org}/projects/{project}/environments/{environment}"


class CaseOut(Schema):
    """A quarantine group as the services hold it, with what was decided about it."""

    group: QuarantineGroup
    state: str
    result: dict[str, Any]


class CasesOut(Schema):
    """Every quarantine group asked for."""

    items: list[CaseOut]


class VerdictIn(Schema):
    """Which group of which dataset, and why."""

    dataset: str
    fingerprint: str = Field(max_length=128)
    reason: str = Field("", max_length=500)


class ResolutionOut(Schema):
    """What became of the rows."""

    state: str
    counts: dict[str, int]


class AckOut(Schema):
    """What one node runs."""

    node: str
    number: int
    applied_at: datetime
    error: str


class SnapshotOut(Schema):
    """The newest snapshot of an environment and what the nodes say about it."""

    number: int | None
    sha256: str | None
    created_at: datetime | None
    problems: list[dict[str, str]]
    acks: list[AckOut]


class AuditQuery(PageQuery):
    """Which events are asked for."""

    action: str | None = Field(None, max_length=100, description="An action, or the beginning of some")
    actor: str | None = Field(None, max_length=254, description="Id or label of who acted")
    target: str | None = Field(None, max_length=100, description="Id of what was acted upon")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class ChainOut(Schema):
    """Whether the chain of hashes holds."""

    whole: bool
    events: int
    checkpoints: int
    problem: str


@router.get(ENVIRONMENT + "/quarantine", response=CasesOut)
def list_quarantine(
    request: HttpRequest, org: str, project: str, environment: str, dataset: str | None = None
) -> CasesOut:
    """List quarantine groups with sample rows, of one dataset or of all."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    resource = f"dataset:{dataset}" if dataset else ""
    caller.need("quarantine.read", Scope(home.org_id, home.project_id, home.pk, resource))
    with connect() as services:
        groups = services.quarantine_groups(home.public_id, dataset)
    cases = {
        (case.dataset.name, case.fingerprint): case
        for case in QuarantineCase.objects.for_org(home.org_id).filter(environment=home).select_related("dataset")
    }
    return CasesOut(items=[_show_case(group, cases.get((group.dataset, group.fingerprint))) for group in groups])


@router.post(ENVIRONMENT + "/quarantine/replay", response=ResolutionOut)
def post_replay(request: HttpRequest, org: str, project: str, environment: str, body: VerdictIn) -> ResolutionOut:
    """Send the rows of a group through the current contract."""
    return _resolve(request, org, project, environment, body, "replay")


@router.post(ENVIRONMENT + "/quarantine/discard", response=ResolutionOut)
def post_discard(request: HttpRequest, org: str, project: str, environment: str, body: VerdictIn) -> ResolutionOut:
    """Give up the rows of a group."""
    return _resolve(request, org, project, environment, body, "discard")


@router.get(ENVIRONMENT + "/snapshot", response=SnapshotOut)
def get_snapshot(request: HttpRequest, org: str, project: str, environment: str) -> SnapshotOut:
    """Show the newest snapshot and which node runs what."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("dataset.read", home)
    newest = Snapshot.objects.for_org(home.org_id).filter(environment=home).order_by("-number").first()
    acks = SnapshotAck.objects.filter(environment=home).order_by("node")
    return SnapshotOut(
        number=newest and newest.number,
        sha256=newest and newest.sha256,
        created_at=newest and newest.created_at,
        problems=newest.problems if newest else [],
        acks=[AckOut(node=ack.node, number=ack.number, applied_at=ack.applied_at, error=ack.error) for ack in acks],
    )


@router.get("/{org}/audit", response=Page[AuditOut])
def list_audit(request: HttpRequest, org: str, query: Annotated[AuditQuery, Query(...)]) -> Page[AuditOut]:
    """Search an organisation's audit log, newest first."""
    caller = caller_of(request)
    home = caller.organization(org)
    caller.need("audit.read", home)
    events = AuditEvent.objects.filter(org_id=home.pk)
    if query.action:
        events = events.filter(action__startswith=query.action)
    if query.actor:
        events = events.filter(actor_id=query.actor) | events.filter(actor_label=query.actor)
    if query.target:
        events = events.filter(target_id=query.target)
    if query.since:
        events = events.filter(at__gte=query.since)
    if query.until:
        events = events.filter(at__lt=query.until)
    return take_page(events, query, AuditOut.show, newest_first=True)


@router.get("/{org}/audit/chain", response=ChainOut)
def get_chain(request: HttpRequest, org: str) -> ChainOut:
    """Recompute the chain of hashes and say whether it holds."""
    caller = caller_of(request)
    home = caller.organization(org)
    caller.need("audit.read", home)
    report = verify_chain(home.pk, current_archive())
    return ChainOut(whole=report.is_whole, events=report.events, checkpoints=report.checkpoints, problem=report.problem)


def _show_case(group: QuarantineGroup, case: QuarantineCase | None) -> CaseOut:
    state = case.state if case and not group.open else "open" if group.open else "resolved"
    return CaseOut(group=group, state=state, result=case.result if case else {})


def _resolve(
    request: HttpRequest, org: str, project: str, environment: str, body: VerdictIn, verdict: Verdict
) -> ResolutionOut:
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    resolve = replay_case if verdict == "replay" else discard_case
    resolution = resolve(
        actor=caller.actor,
        dataset=caller.dataset(org, project, body.dataset),
        environment=home,
        fingerprint=body.fingerprint,
        reason=body.reason,
    )
    return ResolutionOut(state=resolution.case.state, counts=resolution.counts)
