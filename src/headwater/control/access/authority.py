"""Deciding who may do what: grants turned into allowances, deny by default."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Q
from django.utils import timezone

from headwater.control.access.models import ApiKey, Grant, GroupMember, ServiceAccount
from headwater.control.kit.context import Actor
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.core.errors import HeadwaterError
from headwater.core.permissions import is_allowed, resource_kind


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a permission is needed. ``resource`` is kind and name, such as ``dataset:flights``, or empty."""

    org_id: uuid.UUID
    project_id: uuid.UUID | None = None
    environment_id: uuid.UUID | None = None
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Allowances:
    """What a principal may do in an environment, and through which roles."""

    allowed: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Phase:
    """What a principal may do from an instant on, because a grant ends then."""

    starts_at: datetime
    allowances: Allowances


def scope_of(target: Any) -> Scope:
    """Return the scope that ``target`` lies in: an organisation or a row of one.

    A row may say more about itself in ``grant_resource``, such as ``dataset:flights``.
    """
    if isinstance(target, Scope):
        return target
    if isinstance(target, Organization):
        return Scope(target.id)
    if isinstance(target, Project):
        return Scope(target.org_id, target.id)
    if isinstance(target, Environment):
        return Scope(target.org_id, target.project_id, target.id)
    environment = getattr(target, "environment", None)
    project_id = environment.project_id if environment is not None else getattr(target, "project_id", None)
    return Scope(
        target.org_id,
        project_id,
        environment.id if environment is not None else None,
        getattr(target, "grant_resource", ""),
    )


def authorize(actor: Actor, permission: str, target: Any) -> None:
    """Let ``actor`` pass or raise ``forbidden``."""
    if not has_permission(actor.subject, permission, target):
        raise HeadwaterError(
            "forbidden",
            f"{actor.label} lacks {permission} here",
            hint="ask an owner of the organisation for a role that has it",
        )


def has_permission(subject: Any, permission: str, target: Any) -> bool:
    """Return whether a user, service account or API key holds ``permission`` on ``target`` now."""
    if subject is None or target is None:
        return False
    scope = scope_of(target)
    if isinstance(subject, ApiKey):
        return _key_may(subject, permission, scope)
    if not isinstance(subject, ServiceAccount):
        if not subject.is_active:
            return False
        if subject.is_superuser:
            return True
    return _covers(_grants_of(subject, scope.org_id), permission, scope, timezone.now())


def groups_of(principal: Any, org_id: uuid.UUID) -> tuple[str, ...]:
    """Return the names of the groups of an organisation that a service account or user is in now."""
    rows = GroupMember.objects.for_org(org_id).filter(_member_condition(principal)).select_related("group")
    return tuple(sorted(row.group.name for row in rows))


def allowances_for(principal: Any, environment: Environment) -> Allowances:
    """Return what a service account, user or API key may do in ``environment`` now.

    An API key has what its principal has, cut down to the key's scopes, and nothing outside its own environment.
    """
    now = timezone.now()
    if isinstance(principal, ApiKey):
        if principal.environment_id != environment.id or not principal.is_live(now):
            return Allowances()
        held = allowances_for(principal.service_account or principal.user, environment)
        return limit(held, principal.scopes)
    return compile_allowances(_grants_of(principal, environment.org_id), environment, now)


def compile_allowances(grants: Iterable[Grant], environment: Any, at: datetime) -> Allowances:
    """Return what ``grants`` amount to in ``environment`` (an ``Environment`` or a reference to one) at ``at``."""
    allowed: set[str] = set()
    roles: set[str] = set()
    for grant in grants:
        if not grant.is_live(at) or not _reaches(grant, environment.project_id, environment.id):
            continue
        roles.add(grant.role.name)
        kind, _, name = grant.resource.partition(":")
        for permission in grant.role.permissions:
            if not kind:
                allowed.add(f"{permission}:*")
            elif resource_kind(permission) == kind:
                allowed.add(f"{permission}:{name}")
    return Allowances(frozenset(allowed), tuple(sorted(roles)))


def compile_phases(grants: Iterable[Grant], environment: Any, at: datetime) -> tuple[Allowances, tuple[Phase, ...]]:
    """Return what ``grants`` amount to at ``at``, and what becomes of that as they end one after another."""
    listed = list(grants)
    ends = sorted({grant.expires_at for grant in listed if grant.expires_at is not None and grant.expires_at > at})
    phases: list[Phase] = []
    held = now = compile_allowances(listed, environment, at)
    for end in ends:
        then = compile_allowances(listed, environment, end)
        if then != held:
            phases.append(Phase(end, then))
            held = then
    return now, tuple(phases)


def limit(held: Allowances, scopes: Iterable[str]) -> Allowances:
    """Return what is left of ``held`` when only ``scopes`` count; no scopes: everything."""
    wanted = list(scopes)
    if not wanted:
        return held
    left: set[str] = set()
    for scope in wanted:
        permission, _, resource = scope.partition(":")
        if not resource or resource == "*":
            left |= {item for item in held.allowed if item.startswith(f"{permission}:")}
        elif is_allowed(held.allowed, permission, resource):
            left.add(scope)
    return Allowances(frozenset(left), held.roles)


def _key_may(key: ApiKey, permission: str, scope: Scope) -> bool:
    environment = key.environment
    if scope.project_id != environment.project_id or scope.environment_id not in (None, environment.id):
        return False
    held = allowances_for(key, environment).allowed
    return is_allowed(held, permission, scope.resource.partition(":")[2] or "*")


def _grants_of(principal: Any, org_id: uuid.UUID) -> models.QuerySet[Grant]:
    """Return the unrevoked grants of a principal that may act in an organisation that is served."""
    grants = Grant.objects.for_org(org_id).filter(revoked_at=None, org__status=Organization.Status.ACTIVE)
    condition = _member_condition(principal)
    groups = GroupMember.objects.for_org(org_id).filter(condition).values("group")
    return grants.filter(condition | Q(group__in=groups)).select_related("role", "group")


def _member_condition(principal: Any) -> Q:
    """Return what a grant or a place in a group must say to be a principal's, who may act."""
    if isinstance(principal, ServiceAccount):
        return Q(service_account=principal, service_account__disabled_at=None)
    if isinstance(principal, get_user_model()):
        return Q(
            membership__user=principal, membership__status=Membership.Status.ACTIVE, membership__user__is_active=True
        )
    return Q(pk__in=())


def _covers(grants: Iterable[Grant], permission: str, scope: Scope, at: datetime) -> bool:
    return any(covers(grant, permission, scope, at) for grant in grants)


def covers(grant: Grant, permission: str, scope: Scope, at: datetime) -> bool:
    """Return whether a grant gives ``permission`` in ``scope`` at ``at``."""
    return (
        grant.is_live(at)
        and permission in grant.role.permissions
        and _reaches(grant, scope.project_id, scope.environment_id)
        and grant.resource in ("", scope.resource)
    )


def reaches(grant: Grant, scope: Scope) -> bool:
    """Return whether ``scope`` lies where a grant was given, whatever resource that names."""
    return _reaches(grant, scope.project_id, scope.environment_id)


def _reaches(grant: Grant, project_id: uuid.UUID | None, environment_id: uuid.UUID | None) -> bool:
    if grant.environment_id is not None:
        return grant.environment_id == environment_id
    return grant.project_id is None or grant.project_id == project_id
