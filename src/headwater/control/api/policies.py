"""Policies on rows and columns."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from django.http import HttpRequest
from django.utils.timezone import now
from ninja import Field, Query, Router, Schema

from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_number, check_revision
from headwater.control.api.schemas import SEEN, ChangeIn, ReasonIn
from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import archive_policy, publish_policy, reorder_policies
from headwater.control.policies.document import PolicyDocument
from headwater.control.policies.drafts import draft_policy, policy_content
from headwater.control.policies.explain import find_who
from headwater.control.policies.fit import show_principal
from headwater.control.policies.models import AccessPolicy
from headwater.control.policies.row_access import explain_draft
from headwater.core.errors import HeadwaterError

router = Router(tags=["Policies"])
Paging = Annotated[PageQuery, Query(...)]
POLICIES = "/{org}/projects/{project}/environments/{environment}/policies"
POLICY = POLICIES + "/{policy}"


class PolicyOut(Schema):
    """A policy in force. ``expires_at`` in the past: it matches nobody any more, and still closes its resource."""

    id: str
    name: str
    resource: str
    priority: int
    principals: list[str]
    rows: str
    attributes: dict[str, str]
    columns: dict[str, str]
    purpose: str
    expires_at: datetime | None
    archived_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: AccessPolicy) -> PolicyOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id,
            name=row.name,
            resource=row.resource,
            priority=row.priority,
            principals=[show_principal(row.environment, one) for one in row.principals],
            rows=row.row_filter,
            attributes=row.attributes,
            columns=row.columns,
            purpose=row.purpose,
            expires_at=row.expires_at,
            archived_at=row.archived_at,
            revision=row.revision,
        )


class PolicyIn(PolicyDocument):
    """A policy to be put in force, as ``policies/<name>.yaml`` has it."""

    revision: int | None = Field(None, description=SEEN + "; 0: there is none yet")
    reason: str = Field("", max_length=500)


class PolicyOrderIn(ReasonIn):
    """The policies on a resource, in the order in which they are to be asked."""

    resource: str = Field(max_length=140, examples=["dataset:flights"])
    policies: list[str] = Field(max_length=1_000)


class PoliciesOut(Schema):
    """The policies on one resource, in their order."""

    items: list[PolicyOut]


class PreviewIn(Schema):
    """A policy that is not published yet, and who would meet it."""

    who: str = Field(max_length=254, description="A member's address, a service account's name or a key's prefix")
    policy: PolicyDocument


class PreviewOut(Schema):
    """What they would see."""

    shows: Literal["all", "some", "none"]
    policy: str | None = Field(None, description="The policy that would decide")
    reason: str


@router.get(POLICIES, response=Page[PolicyOut])
def list_policies(request: HttpRequest, org: str, project: str, environment: str, page: Paging) -> Page[PolicyOut]:
    """List an environment's policies."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("policy.read", home)
    rows = AccessPolicy.objects.for_org(home.org_id).filter(environment=home, archived_at=None)
    return take_page(rows.select_related("environment"), page, PolicyOut.show)


@router.get(POLICY, response=PolicyOut)
def get_policy(request: HttpRequest, org: str, project: str, environment: str, policy: str) -> PolicyOut:
    """Show one policy."""
    caller = caller_of(request)
    return PolicyOut.show(_policy(caller, caller.environment(org, project, environment), policy))


@router.put(POLICY, response=PolicyOut)
def put_policy(
    request: HttpRequest, org: str, project: str, environment: str, policy: str, body: PolicyIn
) -> PolicyOut:
    """Put a policy in force, in place of one of that name; it is held against the columns first."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("policy.write", home)
    existing = _find(home, policy)
    check_number(request, existing.revision if existing else 0, f"policy {policy[:100]!r}", body.revision)
    content, columns = policy_content(home, body)
    row = publish_policy(
        actor=caller.actor, environment=home, name=policy, content=content, columns=columns, reason=body.reason
    )
    return PolicyOut.show(row)


@router.post(POLICY + "/archive", response=PolicyOut)
def post_archive_policy(
    request: HttpRequest, org: str, project: str, environment: str, policy: str, body: ChangeIn
) -> PolicyOut:
    """Take a policy out of force."""
    caller = caller_of(request)
    row = _policy(caller, caller.environment(org, project, environment), policy)
    check_revision(request, row, body.revision)
    return PolicyOut.show(archive_policy(actor=caller.actor, policy=row, reason=body.reason))


@router.post(POLICIES.removesuffix("policies") + "policy-order", response=PoliciesOut)
def post_policy_order(
    request: HttpRequest, org: str, project: str, environment: str, body: PolicyOrderIn
) -> PoliciesOut:
    """Let the policies on a resource be asked in another order; they share out the priorities they have."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("policy.write", home)
    rows = reorder_policies(
        actor=caller.actor, environment=home, resource=body.resource, names=body.policies, reason=body.reason
    )
    return PoliciesOut(items=[PolicyOut.show(row) for row in rows])


@router.post(POLICY + "/preview", response=PreviewOut)
def post_policy_preview(
    request: HttpRequest, org: str, project: str, environment: str, policy: str, body: PreviewIn
) -> PreviewOut:
    """Say what somebody would see once this policy is in force, without publishing it."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("policy.write", home)
    caller.need("member.read", home)
    seen = explain_draft(find_who(home, body.who), home, draft_policy(home, policy, body.policy).to_spec(), now())
    decides = seen.policy.name if seen.policy else None
    return PreviewOut(shows=seen.shows, policy=decides, reason=seen.reason)


def _policy(caller: Caller, environment: Environment, name: str) -> AccessPolicy:
    caller.need("policy.read", environment)
    found = _find(environment, name)
    if found is None:
        raise HeadwaterError("not_found", f"there is no policy {name[:100]!r}")
    return found


def _find(environment: Environment, name: str) -> AccessPolicy | None:
    rows = AccessPolicy.objects.for_org(environment.org_id).filter(environment=environment, name=name)
    found: AccessPolicy | None = rows.filter(archived_at=None).select_related("environment").first()
    return found
