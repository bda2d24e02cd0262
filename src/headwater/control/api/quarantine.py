"""Quarantine: the rows that were refused, grouped by why, and what is to become of them."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from headwater.control.access.authority import Scope
from headwater.control.api.auth import caller_of
from headwater.control.api.pages import Page, PageQuery, take_sorted
from headwater.control.catalog.data_plane import QuarantineGroup, Verdict, connect
from headwater.control.catalog.models import QuarantineCase
from headwater.control.catalog.quarantine import discard_case, replay_case

router = Router(tags=["Quarantine"])
QUARANTINE = "/{org}/projects/{project}/environments/{environment}/quarantine"


class CaseOut(Schema):
    """A quarantine group as the services hold it, with what was decided about it."""

    group: QuarantineGroup
    state: str
    result: dict[str, Any]

    @classmethod
    def show(cls, group: QuarantineGroup, case: QuarantineCase | None) -> CaseOut:
        """Return what the API says about ``group`` and its case, if there is one."""
        state = case.state if case and not group.open else "open" if group.open else "resolved"
        return cls(group=group, state=state, result=case.result if case else {})


class CasesQuery(PageQuery):
    """Which groups are asked for."""

    dataset: str | None = Field(None, max_length=63, description="By default of all")
    state: Literal["open", "all"] = Field("all", description="open: only those with rows that wait for a verdict")


class ResolveIn(Schema):
    """Which group of which dataset, and why."""

    dataset: str = Field(examples=["flights"])
    fingerprint: str = Field(max_length=128, description="Of the group, as it is listed")
    reason: str = Field("", max_length=500)


class ResolutionOut(Schema):
    """What became of the rows."""

    state: str
    counts: dict[str, int]


@router.get(QUARANTINE, response=Page[CaseOut])
def list_quarantine(
    request: HttpRequest, org: str, project: str, environment: str, query: Annotated[CasesQuery, Query(...)]
) -> Page[CaseOut]:
    """List quarantine groups with sample rows, of one dataset or of all."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    resource = f"dataset:{query.dataset}" if query.dataset else ""
    caller.need("quarantine.read", Scope(home.org_id, home.project_id, home.pk, resource))
    with connect() as services:
        groups = services.quarantine_groups(home.public_id, query.dataset)
    rows = QuarantineCase.objects.for_org(home.org_id).filter(environment=home).select_related("dataset")
    cases = {_key(case.dataset.name, case.fingerprint): case for case in rows}
    asked = [group for group in groups if query.state == "all" or group.open]
    return take_sorted(
        asked,
        query,
        lambda group: CaseOut.show(group, cases.get(_key(group.dataset, group.fingerprint))),
        key=lambda group: _key(group.dataset, group.fingerprint),
    )


@router.post(QUARANTINE + "/replay", response=ResolutionOut)
def post_replay(request: HttpRequest, org: str, project: str, environment: str, body: ResolveIn) -> ResolutionOut:
    """Send the rows of a group through the current contract."""
    return _resolve(request, org, project, environment, body, "replay")


@router.post(QUARANTINE + "/discard", response=ResolutionOut)
def post_discard(request: HttpRequest, org: str, project: str, environment: str, body: ResolveIn) -> ResolutionOut:
    """Give up the rows of a group."""
    return _resolve(request, org, project, environment, body, "discard")


def _key(dataset: str, fingerprint: str) -> str:
    return f"{dataset} {fingerprint}"


def _resolve(
    request: HttpRequest, org: str, project: str, environment: str, body: ResolveIn, verdict: Verdict
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
