"""Overrides of what models answer: asked for by one, approved by another."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status
from pydantic import AwareDatetime

from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import ChangeIn
from headwater.control.overrides.actions import approve_override, reject_override, request_override, revoke_override
from headwater.control.overrides.models import Override
from headwater.core.errors import HeadwaterError

router = Router(tags=["Overrides"])
OVERRIDES = "/{org}/projects/{project}/environments/{environment}/overrides"
OVERRIDE = OVERRIDES + "/{override}"


class OverrideOut(Schema):
    """An override. ``phase`` is requested, scheduled, in force, over, rejected, withdrawn, revoked or lapsed."""

    id: str
    model: str
    output: str
    by: str
    key: dict[str, Any]
    value: Any
    reason: str
    valid_from: datetime
    valid_until: datetime
    state: str
    phase: str
    requested_by: str
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str
    revoked_at: datetime | None
    origin: str | None
    revision: int

    @classmethod
    def show(cls, row: Override) -> OverrideOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, model=row.target, output=row.output, by=row.by, key=row.key, value=row.value,
            reason=row.reason, valid_from=row.valid_from, valid_until=row.valid_until, state=row.state,
            phase=row.phase, requested_by=row.requested_by_label, decided_by=row.decided_by_label or None,
            decided_at=row.decided_at, decision_reason=row.decision_reason, revoked_at=row.revoked_at,
            origin=row.origin or None, revision=row.revision,
        )  # fmt: skip


class OverrideIn(Schema):
    """An override to be asked for."""

    model: str = Field(max_length=63)
    output: str = Field(max_length=200)
    by: Literal["inputs", "entity"] = "inputs"
    key: dict[str, Any] = Field(examples=[{"carrier": "UA"}])
    value: Any
    reason: str = Field(min_length=1, max_length=500)
    valid_from: AwareDatetime | None = Field(None, description="Default: now")
    valid_until: AwareDatetime


class OverridesQuery(PageQuery):
    """Which overrides are asked for."""

    state: str | None = Field(None, max_length=10, description="requested, approved, rejected or revoked")
    model: str | None = Field(None, max_length=63)


@router.get(OVERRIDES, response=Page[OverrideOut])
def list_overrides(
    request: HttpRequest, org: str, project: str, environment: str, query: Annotated[OverridesQuery, Query(...)]
) -> Page[OverrideOut]:
    """List overrides, newest first."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("override.read", home)
    rows = Override.objects.for_org(home.org_id).filter(environment=home)
    if query.state is not None:
        rows = rows.filter(state=query.state)
    if query.model is not None:
        rows = rows.filter(target=query.model)
    return take_page(rows, query, OverrideOut.show, newest_first=True)


@router.post(OVERRIDES, response={201: OverrideOut})
def post_override(
    request: HttpRequest, org: str, project: str, environment: str, body: OverrideIn
) -> Status[OverrideOut]:
    """Ask for an output of a model to be another one for a while; somebody else has to approve it."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    row = request_override(
        actor=caller.actor, environment=home, target=body.model, output=body.output, by=body.by, key=body.key,
        value=body.value, reason=body.reason, valid_from=body.valid_from, valid_until=body.valid_until,
    )  # fmt: skip
    return Status(201, OverrideOut.show(row))


@router.get(OVERRIDE, response=OverrideOut)
def get_override(request: HttpRequest, org: str, project: str, environment: str, override: str) -> OverrideOut:
    """Show one override."""
    return OverrideOut.show(_find(request, org, project, environment, override)[1])


@router.post(OVERRIDE + "/approve", response=OverrideOut)
def post_approve(
    request: HttpRequest, org: str, project: str, environment: str, override: str, body: ChangeIn
) -> OverrideOut:
    """Serve an override that somebody else asked for."""
    caller, row = _find(request, org, project, environment, override)
    check_revision(request, row, body.revision)
    return OverrideOut.show(approve_override(actor=caller.actor, override=row, reason=body.reason))


@router.post(OVERRIDE + "/reject", response=OverrideOut)
def post_reject(
    request: HttpRequest, org: str, project: str, environment: str, override: str, body: ChangeIn
) -> OverrideOut:
    """Refuse an override that was asked for."""
    caller, row = _find(request, org, project, environment, override)
    check_revision(request, row, body.revision)
    return OverrideOut.show(reject_override(actor=caller.actor, override=row, reason=body.reason))


@router.post(OVERRIDE + "/revoke", response=OverrideOut)
def post_revoke(
    request: HttpRequest, org: str, project: str, environment: str, override: str, body: ChangeIn
) -> OverrideOut:
    """End an override, or withdraw one that was asked for."""
    caller, row = _find(request, org, project, environment, override)
    check_revision(request, row, body.revision)
    return OverrideOut.show(revoke_override(actor=caller.actor, override=row, reason=body.reason))


def _find(request: HttpRequest, org: str, project: str, environment: str, override: str) -> tuple[Caller, Override]:
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    rows = Override.objects.for_org(home.org_id).filter(environment=home, pk=Override.parse_id(override))
    found: Override | None = rows.select_related("environment__project").first()
    if found is None:
        raise HeadwaterError("not_found", f"there is no override {override[:80]!r}")
    caller.need("override.read", found)
    return caller, found
