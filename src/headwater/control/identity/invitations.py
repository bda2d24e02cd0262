"""Inviting people: a signed link that expires, opens once, and only for the address it was sent to."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from functools import partial
from typing import Final

from django.core import signing
from django.utils import timezone

from headwater.control.access.actions import require_giving
from headwater.control.access.models import Role
from headwater.control.access.roles import RoleUse, finds_role_uses
from headwater.control.identity.joining import join
from headwater.control.identity.mail import deliver, link_to
from headwater.control.identity.models import INVITATION_LIFETIME, Invitation, User
from headwater.control.kit.actions import SYSTEM, Actor, action, bookkeeping
from headwater.control.orgs.models import Membership, Organization
from headwater.core.errors import HeadwaterError

_SALT: Final = "headwater.invitation"


@action("identity.invitation.created", permission="member.write", on="org")
def invite(*, actor: Actor, org: Organization, email: str, role: Role) -> tuple[Invitation, str]:
    """Invite an address with a role; return the invitation and its token, which is not kept.

    Raises:
        HeadwaterError: ``conflict`` when they are a member or invited already, ``forbidden`` when the role holds more
            than the actor does, ``invalid_parameter``.
    """
    email = email.strip().lower()
    require_giving(actor, role, org)
    member = Membership.objects.for_org(org).filter(user__email=email).exclude(status=Membership.Status.INVITED).first()
    if member is not None:
        raise HeadwaterError("conflict", f"{email} is a member already ({member.status})")
    invitation = Invitation(
        org=org, email=email, role=role, invited_by=actor.label, expires_at=timezone.now() + INVITATION_LIFETIME
    )
    token = _token(invitation)
    invitation.token_sha256 = _digest(token)
    invitation.save()
    return invitation, token


@action("identity.invitation.renewed", permission="member.write", on="invitation")
def renew(*, actor: Actor, invitation: Invitation) -> tuple[Invitation, str]:
    """Give an invitation another link and more time; the link sent before opens nothing any more."""
    _require_pending(invitation)
    require_giving(actor, invitation.role, invitation.org)
    token = _token(invitation)
    invitation.change(token_sha256=_digest(token), expires_at=timezone.now() + INVITATION_LIFETIME)
    return invitation, token


@action("identity.invitation.revoked", permission="member.write", on="invitation")
def revoke(*, actor: Actor, invitation: Invitation, reason: str = "") -> Invitation:
    """Take an invitation back."""
    _require_pending(invitation)
    invitation.change(status=Invitation.Status.REVOKED)
    return invitation


@action("identity.invitation.accepted", permission=None, anybody=True)
def accept(*, actor: Actor, invitation: Invitation, user: User) -> Membership:
    """Make ``user`` the member that the invitation offers; two tries at once make one member.

    Raises:
        HeadwaterError: ``conflict`` when it is used, revoked or expired, ``forbidden`` for another address.
    """
    _require_pending(invitation)
    if not invitation.is_open:
        raise HeadwaterError("conflict", "the invitation has expired", hint="ask for another one")
    if invitation.org.status != Organization.Status.ACTIVE:
        raise HeadwaterError("conflict", f"{invitation.org} takes no members now")
    if user.email != invitation.email:
        raise HeadwaterError(
            "forbidden", "the invitation was sent to another address", hint=f"sign in as {invitation.email}"
        )
    invitation.change(status=Invitation.Status.ACCEPTED, accepted_at=timezone.now(), accepted_by=user)
    return join(
        actor=SYSTEM, org=invitation.org, user=user, role=invitation.role, source=Membership.Source.INVITE,
        reason=f"invited by {invitation.invited_by}"[:500],
    )  # fmt: skip


def find(token: str) -> Invitation:
    """Return the invitation that a token opens.

    Raises:
        HeadwaterError: ``not_found`` for a token that is forged, cut off, replaced by another, used or expired. Which
            of them it is stays untold.
    """
    gone = HeadwaterError("not_found", "this invitation cannot be used any more", hint="ask for another one")
    try:
        key = signing.loads(token, salt=_SALT, max_age=INVITATION_LIFETIME)["invitation"]
        found = Invitation.unscoped.filter(pk=Invitation.parse_id(key)).select_related("org", "role").first()
    except (signing.BadSignature, KeyError, TypeError, HeadwaterError) as error:
        raise gone from error
    if found is None or not found.is_open or not hmac.compare_digest(found.token_sha256, _digest(token)):
        raise gone
    return found  # type: ignore[no-any-return]


def send(invitation: Invitation, token: str) -> None:
    """Mail the link; raises ``mail_unavailable``, which leaves the invitation to be sent again."""
    deliver(
        "identity/mail/invitation",
        invitation.email,
        {"invitation": invitation, "url": link_to("invitation", token=token)},
    )
    with bookkeeping():
        Invitation.unscoped.filter(pk=invitation.pk).update(sent_at=timezone.now())
    invitation.sent_at = timezone.now()


@finds_role_uses
def invitations_with(role: Role, org: Organization) -> Iterable[RoleUse]:
    """Yield the invitations that offer ``role`` and were neither used nor taken back."""
    pending = Invitation.objects.for_org(org).filter(role=role, status=Invitation.Status.PENDING)
    for invitation in pending:
        yield RoleUse(f"the invitation of {invitation.email}", partial(_offer_instead, invitation))


def _offer_instead(invitation: Invitation, actor: Actor, role: Role) -> None:
    invitation.change(role=role)


def _require_pending(invitation: Invitation) -> None:
    if invitation.status != Invitation.Status.PENDING:
        raise HeadwaterError("conflict", f"the invitation is {invitation.status}", hint="invite them anew")


def _token(invitation: Invitation) -> str:
    return signing.dumps({"invitation": invitation.public_id, "nonce": secrets.token_urlsafe(24)}, salt=_SALT)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
