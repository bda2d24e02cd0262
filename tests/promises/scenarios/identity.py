"""One way to run every action of invitations, second factors, sessions and single sign-on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allauth.mfa.models import Authenticator
from tests.builders.control import make_environment, make_member, make_user
from tests.builders.sign_on import make_domain, make_provider, make_session

from headwater.control.access.queries import get_role
from headwater.control.identity import actions as identity
from headwater.control.identity import invitations, joining
from headwater.control.identity.models import Invitation, User
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment, Membership
from headwater.control.sso import actions as sso

Scenario = Callable[[Environment], object]


def _invite(environment: Environment) -> tuple[Invitation, str]:
    return invitations.invite(actor=SYSTEM, org=environment.org, email="new@example.com", role=get_role("analyst"))


def _accept(environment: Environment) -> None:
    invitation, _ = _invite(environment)
    invitations.accept(actor=SYSTEM, invitation=invitation, user=make_user("new@example.com"))


def _join(environment: Environment) -> None:
    joining.join(
        actor=SYSTEM, org=environment.org, user=make_user(), role=get_role("analyst"), source=Membership.Source.JIT
    )


def _end_session(_: Environment) -> None:
    user = make_user()
    identity.end_sessions(actor=SYSTEM, user=user, sessions=[make_session(user)])


def _clear_factor(_: Environment) -> None:
    user = make_user()
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
    identity.reset_second_factor(actor=SYSTEM, user=user, reason="lost")


def _enforce(environment: Environment) -> None:
    make_domain(environment.org)
    sso.name_recovery_owner(actor=SYSTEM, membership=make_member(environment.org, "owner"), reason="away")
    sso.change_enforcement(actor=SYSTEM, provider=make_provider(environment.org), enforced=True)


def _dismiss(environment: Environment) -> None:
    kept = sso.name_recovery_owner(actor=SYSTEM, membership=make_member(environment.org, "owner"), reason="away")
    sso.dismiss_recovery_owner(actor=SYSTEM, recovery=kept)


SCENARIOS: Final[dict[str, Scenario]] = {
    "identity.user.registered": lambda _: identity.sign_up(actor=SYSTEM, user=User(email="self@example.com")),
    "identity.user.email_verified": lambda _: identity.record_verified(
        actor=SYSTEM, user=make_user(), email="a@example.com"
    ),
    "identity.account.locked": lambda _: identity.record_lock_out(actor=SYSTEM, user=make_user()),
    "identity.provider.bypassed": lambda e: identity.record_recovery(
        actor=SYSTEM, user=make_user(), around=make_provider(e.org)
    ),
    "identity.second_factor.added": lambda _: identity.record_factor_added(actor=SYSTEM, user=make_user(), kind="totp"),
    "identity.second_factor.removed": lambda _: identity.record_factor_removed(
        actor=SYSTEM, user=make_user(), kind="totp"
    ),
    "identity.second_factor.cleared": _clear_factor,
    "identity.session.ended": _end_session,
    "identity.account.linked": lambda e: identity.record_linked(
        actor=SYSTEM, user=make_user(), provider=make_provider(e.org), subject="1"
    ),
    "identity.account.unlinked": lambda _: identity.record_unlinked(actor=SYSTEM, user=make_user(), provider="idp_1"),
    "identity.membership.joined": _join,
    "identity.invitation.created": _invite,
    "identity.invitation.renewed": lambda e: invitations.renew(actor=SYSTEM, invitation=_invite(e)[0]),
    "identity.invitation.revoked": lambda e: invitations.revoke(actor=SYSTEM, invitation=_invite(e)[0]),
    "identity.invitation.accepted": _accept,
    "sso.domain.claimed": lambda e: sso.claim_domain(actor=SYSTEM, org=e.org, name="Example.com"),
    "sso.domain.verified": lambda e: make_domain(e.org),
    "sso.domain.joining_changed": lambda e: sso.change_joining(
        actor=SYSTEM, domain=make_domain(e.org), auto_join=True, role=get_role("analyst")
    ),
    "sso.domain.rechecked": lambda e: sso.recheck_domain(
        actor=SYSTEM, domain=make_domain(e.org), resolve=lambda _name: []
    ),
    "sso.domain.lapsed": lambda e: sso._lapse(actor=SYSTEM, domain=make_domain(e.org)),
    "sso.domain.removed": lambda e: sso.remove_domain(actor=SYSTEM, domain=make_domain(e.org)),
    "sso.provider.created": lambda e: make_provider(e.org),
    "sso.provider.changed": lambda e: sso.change_provider(actor=SYSTEM, provider=make_provider(e.org), name="Other"),
    "sso.provider.enforcement_changed": _enforce,
    "sso.provider.removed": lambda e: sso.remove_provider(actor=SYSTEM, provider=make_provider(e.org)),
    "sso.recovery_owner.named": _dismiss,
    "sso.recovery_owner.dismissed": _dismiss,
    "sso.policy.changed": lambda e: sso.change_policy(
        actor=SYSTEM, org=make_environment("other").org, mfa_required=True
    ),
}
