"""What the first start and the command line make: organisation, project, environment, owner, keys."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from headwater.control import configuration
from headwater.control.access.actions import create_key as create_api_key
from headwater.control.access.actions import create_service_account, grant, sync_built_in_roles
from headwater.control.access.members import add_member
from headwater.control.access.models import Grant, ServiceAccount
from headwater.control.access.queries import find_live_key, get_environment, get_role
from headwater.control.bootstrap import (
    CreatedAdmin,
    CreatedKey,
    FirstStart,
    Invitations,
    SentInvitation,
    ShownInvitation,
)
from headwater.control.identity import invitations
from headwater.control.identity.actions import create_user, make_admin, set_password
from headwater.control.identity.mail import link_to
from headwater.control.identity.models import Invitation, User
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.actions import create_environment, create_organization, create_project
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.control.snapshots.publish import publish_all
from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings

LISTED: Final = 200
LOCAL: Final = "local"
"""The service account of the commands that run on this machine."""


def ensure_target(settings: Settings) -> FirstStart:
    """Make what the target lacks and publish what differs; one transaction: a crash leaves nothing half made."""
    with transaction.atomic():
        sync_built_in_roles(actor=SYSTEM)
        environment, created = _ensure_environment(settings)
        email, password = _ensure_owner(environment.org)
        key = _ensure_local_key(environment)
        publish_all()
        # Written last but inside: if the disk is full, no key exists that nobody has.
        if key is not None:
            home = configuration.home()
            home.write_secret(home.demo_key, key.encode())
    return FirstStart(
        organization=environment.org.slug,
        project=environment.project.slug,
        environment=environment.key,
        environment_id=environment.public_id,
        admin_email=email,
        admin_password=password,
        demo_key=key,
        created=created,
        strangers=_strangers(),
    )


def ensure_environment(settings: Settings) -> None:
    """Make the target's organisation, project and environment if they are missing."""
    with transaction.atomic():
        sync_built_in_roles(actor=SYSTEM)
        _ensure_environment(settings)


def create_key(
    settings: Settings,
    name: str,
    role: str,
    *,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
    limits: Mapping[str, float] | None = None,
) -> CreatedKey:
    """Make a key for the service account ``name``, and the account with ``role`` if there is none."""
    target = settings.target
    environment = get_environment(target.organization, target.project, target.environment)
    with transaction.atomic():
        account = _ensure_account(environment, name, role)
        key, text = create_api_key(
            actor=SYSTEM,
            environment=environment,
            name=name,
            service_account=account,
            scopes=scopes,
            expires_at=expires_at,
            limits=limits,
        )
    return CreatedKey(
        key=text,
        id=key.public_id,
        prefix=key.key_prefix,
        principal=account.name,
        role=role,
        environment_id=environment.public_id,
        expires_at=key.expires_at,
    )


def create_admin(settings: Settings, email: str, password: str | None) -> CreatedAdmin:
    """Make ``email`` an administrator and an owner of the target's organisation."""
    generated = None if password else secrets.token_urlsafe(15)
    with transaction.atomic():
        sync_built_in_roles(actor=SYSTEM)
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            user = create_user(actor=SYSTEM, email=email, password=password or generated, is_admin=True)
            created = True
        else:
            set_password(actor=SYSTEM, user=user, password=password or generated or "")
            make_admin(actor=SYSTEM, user=user)
            created = False
        environment, _ = _ensure_environment(settings)
        if not Membership.objects.for_org(environment.org).filter(user=user).exists():
            add_member(actor=SYSTEM, org=environment.org, user=user, role=get_role("owner"))
    return CreatedAdmin(user.email, generated, created)


def invite_user(settings: Settings, email: str, role: str, *, mail: bool) -> SentInvitation:
    """Invite an address, or give the invitation that it has another link."""
    org = Organization.unscoped.get(slug=settings.target.organization)
    wanted = get_role(role, org)
    pending = Invitation.objects.for_org(org).filter(
        email=email.strip().lower(), status=Invitation.Status.PENDING
    ).select_related("role", "org").first()  # fmt: skip
    if pending is None:
        made, token = invitations.invite(actor=SYSTEM, org=org, email=email, role=wanted)
    elif pending.role != wanted:
        raise HeadwaterError(
            "conflict", f"{pending.email} is invited as {pending.role} already", hint="take that invitation back first"
        )
    else:
        made, token = invitations.renew(actor=SYSTEM, invitation=pending)
    if mail:
        invitations.send(made, token)
    return SentInvitation(_shown(made), link_to("invitation", token=token), mail)


def list_invitations(settings: Settings) -> Invitations:
    """Return the newest invitations."""
    org = Organization.unscoped.get(slug=settings.target.organization)
    rows = Invitation.objects.for_org(org).select_related("role").order_by("-created_at")
    return Invitations(org.slug, tuple(_shown(row) for row in rows[:LISTED]))


def _shown(row: Invitation) -> ShownInvitation:
    expired = row.status == Invitation.Status.PENDING and not row.is_open
    state = "expired" if expired else str(row.status)
    return ShownInvitation(row.public_id, row.email, row.role.name, state, row.invited_by, row.expires_at)


def _strangers() -> tuple[str, ...]:
    """Return the environments of this home that the database does not know: another database made them."""
    known = {environment.public_id for environment in Environment.unscoped.only("id")}
    return tuple(kept for kept in configuration.home().kept_environments() if kept not in known)


def _ensure_environment(settings: Settings) -> tuple[Environment, bool]:
    target = settings.target
    org = Organization.unscoped.filter(slug=target.organization).first()
    created = org is None
    org = org or create_organization(actor=SYSTEM, slug=target.organization)
    project = Project.objects.for_org(org).filter(slug=target.project).first()
    project = project or create_project(actor=SYSTEM, org=org, slug=target.project)
    environment = Environment.objects.for_org(org).filter(project=project, key=target.environment).first()
    environment = environment or create_environment(actor=SYSTEM, project=project, key=target.environment)
    return environment, created


def _ensure_owner(org: Organization) -> tuple[str, str | None]:
    """Return the e-mail of an owner of ``org``, and the password if an administrator had to be made."""
    owner = get_role("owner")
    held = (
        Grant.objects.for_org(org)
        .filter(role=owner, membership__isnull=False, project=None, environment=None, revoked_at=None)
        .select_related("membership__user")
        .order_by("created_at")
        .first()
    )
    if held is not None:
        return held.membership.user.email, None
    password = None
    user = User.objects.filter(is_superuser=True, is_active=True).order_by("created_at").first()
    if user is None:
        password = secrets.token_urlsafe(15)
        label = org.slug.replace("_", "-").strip("-")
        user = create_user(actor=SYSTEM, email=f"admin@{label}.localhost", password=password, is_admin=True)
    add_member(actor=SYSTEM, org=org, user=user, role=owner)
    return user.email, password


def _ensure_local_key(environment: Environment) -> str | None:
    """Return a fresh key for this machine's commands unless the home holds one for this environment."""
    try:
        held = find_live_key(configuration.home().demo_key.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        held = None
    if held is not None and held.environment_id == environment.id:
        return None
    account = _ensure_account(environment, LOCAL, "owner")
    _, text = create_api_key(actor=SYSTEM, environment=environment, name=LOCAL, service_account=account)
    return text


def _ensure_account(environment: Environment, name: str, role_name: str) -> ServiceAccount:
    role = get_role(role_name, environment.org)
    account: ServiceAccount | None = (
        ServiceAccount.objects.for_org(environment.org).filter(project=environment.project, name=name).first()
    )
    if account is None:
        account = create_service_account(actor=SYSTEM, project=environment.project, name=name)
    if account.disabled_at is not None:
        raise HeadwaterError("conflict", f"the service account {name!r} is disabled", hint="choose another name")
    held = {
        given.role.name
        for given in Grant.objects.for_org(environment.org)
        .filter(service_account=account, revoked_at=None)
        .select_related("role")
        if given.is_live(timezone.now())
    }
    if held - {role.name}:
        raise HeadwaterError(
            "conflict",
            f"the service account {name!r} exists with the role {', '.join(sorted(held))}",
            hint="choose another name, or that role",
        )
    if not held:
        grant(actor=SYSTEM, scope=environment.project, role=role, service_account=account)
    return account
