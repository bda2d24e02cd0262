"""What the control API takes and gives about groups, grants, roles and explanations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Field, Schema
from pydantic import AwareDatetime

from headwater.control.access.models import Grant, Group, GroupMember, Role
from headwater.control.policies.explain import Explanation, Question
from headwater.core.setting_sections import SLUG


class GroupOut(Schema):
    """A group."""

    id: str
    name: str
    description: str
    revision: int

    @classmethod
    def show(cls, row: Group) -> GroupOut:
        """Return what the API says about ``row``."""
        return cls(id=row.public_id, name=row.name, description=row.description, revision=row.revision)


class GroupIn(Schema):
    """A group to be made."""

    name: str = Field(pattern=SLUG)
    description: str = Field("", max_length=500)


class GroupMemberOut(Schema):
    """Somebody's place in a group."""

    id: str
    email: str | None
    service_account: str | None
    managed_by: str
    revision: int

    @classmethod
    def show(cls, row: GroupMember) -> GroupMemberOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id,
            email=row.membership.user.email if row.membership else None,
            service_account=row.service_account.name if row.service_account else None,
            managed_by=row.managed_by,
            revision=row.revision,
        )


class GroupMemberIn(Schema):
    """Who is put into a group: a member by address, or a service account by id."""

    email: str | None = Field(None, max_length=254)
    service_account: str | None = Field(None, max_length=64, description="Its id, sa_…")
    reason: str = Field("", max_length=500)


class RoleOut(Schema):
    """A role."""

    id: str
    name: str
    built_in: bool
    permissions: list[str]
    revision: int

    @classmethod
    def show(cls, row: Role) -> RoleOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id,
            name=row.name,
            built_in=row.org_id is None,
            permissions=row.permissions,
            revision=row.revision,
        )


class RoleIn(Schema):
    """A role to be made."""

    name: str = Field(pattern=SLUG)
    permissions: list[str] = Field(max_length=200, examples=[["dataset.read", "endpoint.invoke"]])


class GrantOut(Schema):
    """A role given to somebody somewhere."""

    id: str
    role: str
    principal: str
    project: str | None
    environment: str | None
    resource: str
    granted_by: str
    reason: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: Grant) -> GrantOut:
        """Return what the API says about ``row``."""
        environment = row.environment
        return cls(
            id=row.public_id,
            role=row.role.name,
            principal=row.principal,
            project=environment.project.slug if environment else row.project.slug if row.project else None,
            environment=environment.key if environment else None,
            resource=row.resource,
            granted_by=row.granted_by,
            reason=row.reason,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            revision=row.revision,
        )


class GrantIn(Schema):
    """A role to be given: to one principal, on the organisation or a part of it."""

    role: str
    email: str | None = Field(None, max_length=254)
    service_account: str | None = Field(None, max_length=64, description="Its id, sa_…")
    group: str | None = Field(None, max_length=63)
    project: str | None = None
    environment: str | None = Field(None, description="Of the project")
    resource: str = Field("", max_length=200, examples=["dataset:flights"])
    expires_at: AwareDatetime | None = None
    reason: str = Field("", max_length=500)


class ExplainIn(Schema):
    """Can this principal do that there?"""

    organization: str
    project: str
    environment: str
    principal: str | None = Field(
        None, max_length=254, description="Address, service account's name, or key (key_…, hw_…); default: the caller"
    )
    permission: str = Field(max_length=64, examples=["dataset.read"])
    resource: str = Field("", max_length=200, examples=["dataset:flights"])
    address: str | None = Field(None, max_length=64, description="Where a key is used from; default: anywhere")
    at: AwareDatetime | None = Field(None, description="When; default: now")


class RowsOut(Schema):
    """What is shown of one resource's rows and columns."""

    resource: str
    shows: str = Field(description="all, some or none of the rows")
    policy: str | None
    columns: dict[str, str]
    reason: str


class ExplainOut(Schema):
    """The decision, and what made it."""

    allowed: bool
    decided_by: str
    reason: str
    permission: str
    resource: str
    grant: GrantOut | None
    considered: list[str] = Field(description="Grants that nearly give it, each with why they do not")
    rows: list[RowsOut] = Field(description="Where rows come out: the policy that decides what is shown")

    @classmethod
    def show(cls, question: Question, answer: Explanation) -> ExplainOut:
        """Return what the API says about an answer."""
        rows: list[Any] = [
            RowsOut(
                resource=one.resource,
                shows=one.shows,
                policy=one.policy.name if one.policy else None,
                columns=dict(one.policy.columns) if one.policy else {},
                reason=one.reason,
            )
            for one in answer.rows
        ]
        return cls(
            allowed=answer.allowed,
            decided_by=answer.decided_by,
            reason=answer.reason,
            permission=question.permission,
            resource=question.resource,
            grant=GrantOut.show(answer.grant) if answer.grant else None,
            considered=list(answer.considered),
            rows=rows,
        )
