"""What can be done to grants, service accounts and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

from headwater.control.access.authority import has_permission
from headwater.control.access.models import ApiKey, Grant, Group, GroupMember, Role, ServiceAccount
from headwater.control.access.owners import keeping_an_owner
from headwater.control.access.secrets import new_secret
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.core.errors import HeadwaterError
from headwater.core.permissions import BUILT_IN_ROLES

KEY_LIFETIME: Final = timedelta(days=365)
LONGEST_LIFETIME: Final = timedelta(days=3 * 365)
OVERLAP: Final = timedelta(days=1)
LONGEST_OVERLAP: Final = timedelta(days=90)


@action("access.role.built_in_synchronised", permission=None)
def sync_built_in_roles(*, actor: Actor) -> None:
    """Bring the built-in roles to what this release's code says they are."""
    known = {role.name: role for role in Role.unscoped.filter(org=None)}
    for name, permissions in BUILT_IN_ROLES.items():
        wanted = sorted(permissions)
        if name not in known:
            Role(org=None, name=name, permissions=wanted, is_sealed=True).save()
        else:
            known[name].change(permissions=wanted)


@action("access.service_account.created", permission="key.write", on="project")
def create_service_account(*, actor: Actor, project: Project, name: str, description: str = "") -> ServiceAccount:
    """Make an identity for a program."""
    account = ServiceAccount(org=project.org, project=project, name=name, description=description)
    account.save()
    return account


@action("access.service_account.disabled", permission="key.write", on="account")
def disable_service_account(*, actor: Actor, account: ServiceAccount, reason: str = "") -> ServiceAccount:
    """Let none of the account's keys open anything any more."""
    if account.disabled_at is None:
        account.change(disabled_at=timezone.now())
    return account


@action("access.service_account.enabled", permission="key.write", on="account")
def enable_service_account(*, actor: Actor, account: ServiceAccount, reason: str = "") -> ServiceAccount:
    """Let the account's live keys open again what its grants give; raises ``forbidden`` for who holds less."""
    if account.disabled_at is not None:
        _require_no_less(actor, account, account.project)
        account.change(disabled_at=None)
    return account


@action("access.grant.created", permission="member.write", on="scope")
def grant(
    *,
    actor: Actor,
    scope: Organization | Project | Environment,
    role: Role,
    membership: Membership | None = None,
    service_account: ServiceAccount | None = None,
    group: Group | None = None,
    resource: str = "",
    expires_at: datetime | None = None,
    reason: str = "",
) -> Grant:
    """Give a role to one member, group or service account on ``scope``, or on one ``resource`` in it.

    A resource is named by kind and name: ``dataset:flights``.

    Raises:
        HeadwaterError: ``forbidden`` when the role holds more than the grantor does there, ``conflict`` when it is
            already given, ``invalid_parameter``.
    """
    org = scope if isinstance(scope, Organization) else scope.org
    require_giving(actor, role, scope)
    for principal in (membership, service_account, group):
        if principal is not None and principal.org_id != org.id:
            raise HeadwaterError("invalid_parameter", f"{principal} belongs to another organisation")
    given = Grant(
        org=org,
        role=role,
        membership=membership,
        service_account=service_account,
        group=group,
        project=scope if isinstance(scope, Project) else None,
        environment=scope if isinstance(scope, Environment) else None,
        resource=resource,
        expires_at=expires_at,
        granted_by=actor.label[:200],
        reason=reason,
    )
    given.save()
    return given


@action("access.grant.revoked", permission="member.write", on="given")
def revoke_grant(*, actor: Actor, given: Grant, reason: str = "") -> Grant:
    """Take a grant back; nobody takes what they do not hold, and the last owner of an organisation stays one."""
    if given.revoked_at is None:
        require_holding(actor, given.role.permissions, given.environment or given.project or given.org)
        with keeping_an_owner(given.org):
            given.change(revoked_at=timezone.now())
    return given


@action("access.key.created", permission="key.write", on="environment")
def create_key(
    *,
    actor: Actor,
    environment: Environment,
    name: str,
    service_account: ServiceAccount | None = None,
    user: Any = None,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
    cidrs: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    rotated_from: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for a service account or a user; return it with its text, which is never to be had again.

    Raises:
        HeadwaterError: ``forbidden`` when the actor holds less than the key would, or gives it attributes, which decide
            what policies show, without ``policy.write``; ``invalid_parameter``.
    """
    now = timezone.now()
    expires_at = expires_at or now + KEY_LIFETIME
    if not now < expires_at <= now + LONGEST_LIFETIME:
        raise HeadwaterError("invalid_parameter", "a key expires in the future, within three years")
    if service_account is not None:
        if service_account.project_id != environment.project_id:
            raise HeadwaterError("invalid_parameter", f"{service_account} belongs to another project")
        _require_no_less(actor, service_account, environment)
    elif actor.kind != "system" and actor.subject != user:
        raise HeadwaterError("forbidden", "people make keys for themselves or for service accounts")
    if attributes and not (rotated_from is not None and rotated_from.attributes == attributes):
        require_holding(actor, ["policy.write"], environment)
    secret = new_secret()
    key = ApiKey(
        org=environment.org,
        name=name,
        key_prefix=secret.prefix,
        secret_sha256=secret.sha256,
        environment=environment,
        service_account=service_account,
        user=user,
        scopes=sorted(set(scopes)),
        cidrs=list(cidrs),
        attributes=dict(attributes or {}),
        limits={name: value for name, value in (limits or {}).items() if value is not None},
        rotated_from=rotated_from,
        expires_at=expires_at,
    )
    key.save()
    return key, secret.text


@action("access.key.revoked", permission="key.write", on="key")
def revoke_key(*, actor: Actor, key: ApiKey, reason: str = "") -> ApiKey:
    """Close a key for good."""
    if key.revoked_at is None:
        key.change(revoked_at=timezone.now())
    return key


@action("access.key.rotated", permission="key.write", on="key")
def rotate_key(
    *, actor: Actor, key: ApiKey, overlap: timedelta = OVERLAP, expires_at: datetime | None = None, reason: str = ""
) -> tuple[ApiKey, str]:
    """Make the key that follows ``key``, alike in all but its text; both open until ``overlap`` has passed.

    Args:
        actor: who rotates.
        key: a live key.
        overlap: how long the old key stays open, if it does not expire before.
        expires_at: of the new key; default: as long a life as the old one was given.
        reason: why.

    Raises:
        HeadwaterError: ``conflict`` for a key that is over or has a successor, ``invalid_parameter``, ``forbidden``.
    """
    now = timezone.now()
    if not key.is_live(now):
        raise HeadwaterError("conflict", f"{key} opens nothing any more", hint="create a new key")
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise HeadwaterError("invalid_parameter", f"an overlap lasts up to {LONGEST_OVERLAP.days} days")
    made = create_key(
        actor=actor,
        environment=key.environment,
        name=key.name,
        service_account=key.service_account,
        user=key.user,
        scopes=key.scopes,
        expires_at=expires_at or now + (key.expires_at - key.created_at),
        cidrs=key.cidrs,
        attributes=key.attributes,
        limits=key.limits,
        rotated_from=key,
    )
    key.change(expires_at=min(key.expires_at, now + overlap))
    return made


def _require_no_less(actor: Actor, account: ServiceAccount, scope: Environment | Project) -> None:
    """A key must not lend its maker more than they have."""
    groups = GroupMember.objects.for_org(account.org_id).filter(service_account=account).values("group")
    held = Grant.objects.for_org(account.org_id).filter(Q(service_account=account) | Q(group__in=groups))
    for given in held.filter(revoked_at=None).select_related("role"):
        require_holding(actor, given.role.permissions, given.environment or given.project or scope)


def require_holding(actor: Actor, permissions: Sequence[str], scope: Any) -> None:
    """Raise ``forbidden`` unless ``actor`` holds all of ``permissions`` on ``scope``: who has less decides nothing."""
    if actor.kind == "system":
        return
    lacking = [permission for permission in permissions if not has_permission(actor.subject, permission, scope)]
    if lacking:
        raise HeadwaterError(
            "forbidden",
            f"{actor.label} cannot give or take what they do not hold: {', '.join(sorted(lacking))}",
            hint="ask an owner of the organisation",
        )


def require_giving(actor: Actor, role: Role, scope: Organization | Project | Environment) -> None:
    """Raise unless ``actor`` may give ``role`` on ``scope``.

    Raises:
        HeadwaterError: ``forbidden`` when it holds more than the actor does there, ``invalid_parameter`` when it is
            another organisation's, ``conflict`` when it was removed.
    """
    org_id = scope.id if isinstance(scope, Organization) else scope.org_id
    if role.org_id not in (None, org_id):
        raise HeadwaterError("invalid_parameter", f"the role {role} belongs to another organisation")
    if role.archived_at is not None:
        raise HeadwaterError("conflict", f"the role {role} was removed", hint="give another one")
    require_holding(actor, role.permissions, scope)
