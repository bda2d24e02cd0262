"""One way to run every action of organisations, access, identity and upkeep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.builders.control import make_account, make_key, make_member, make_owner, make_user

from headwater.control.access import actions as access
from headwater.control.access import members, roles
from headwater.control.access.models import Grant, Role
from headwater.control.access.queries import get_role
from headwater.control.audit.verify import verify_chain
from headwater.control.identity import actions as identity
from headwater.control.identity.failures import note_failure
from headwater.control.kit.actions import SYSTEM
from headwater.control.kit.context import bookkeeping
from headwater.control.orgs import actions as orgs
from headwater.control.orgs.models import Environment
from headwater.control.upkeep import actions as upkeep
from headwater.control.upkeep.ledger import add_up

Scenario = Callable[[Environment], object]


def _sync_roles(_environment: Environment) -> None:
    with bookkeeping():
        Role.unscoped.filter(name="producer").update(permissions=[])
    access.sync_built_in_roles(actor=SYSTEM)


def _revoke_grant(environment: Environment) -> None:
    make_account(environment.project, "other")
    given = Grant.objects.for_org(environment.org).filter(service_account__name="other").get()
    access.revoke_grant(actor=SYSTEM, given=given)


def _reactivate(environment: Environment) -> None:
    orgs.suspend_organization(actor=SYSTEM, org=environment.org, reason="unpaid")
    orgs.reactivate_organization(actor=SYSTEM, org=environment.org)


def _activate(environment: Environment) -> None:
    owner = make_owner(environment.org)
    user = make_user()
    invited = members.invite_member(actor=owner, org=environment.org, user=user, role=get_role("analyst"))
    members.activate_member(actor=owner, membership=invited)


def _reader(environment: Environment) -> Role:
    return roles.create_role(actor=SYSTEM, org=environment.org, name="reader", permissions=["dataset.read"])


def _enable(environment: Environment) -> None:
    account = access.disable_service_account(actor=SYSTEM, account=make_account(environment.project))
    access.enable_service_account(actor=SYSTEM, account=account)


SCENARIOS: Final[dict[str, Scenario]] = {
    "orgs.organization.created": lambda _: orgs.create_organization(actor=SYSTEM, slug="new"),
    "orgs.organization.renamed": lambda e: orgs.rename_organization(actor=SYSTEM, org=e.org, name="New"),
    "orgs.organization.suspended": lambda e: orgs.suspend_organization(actor=SYSTEM, org=e.org, reason="unpaid"),
    "orgs.organization.reactivated": _reactivate,
    "orgs.project.created": lambda e: orgs.create_project(actor=SYSTEM, org=e.org, slug="new"),
    "orgs.project.renamed": lambda e: orgs.rename_project(actor=SYSTEM, project=e.project, name="New"),
    "orgs.environment.created": lambda e: orgs.create_environment(actor=SYSTEM, project=e.project, key="new"),
    "orgs.environment.protection_changed": lambda e: orgs.change_protection(
        actor=SYSTEM, environment=e, protected=True
    ),
    "orgs.membership.invited": _activate,
    "orgs.membership.activated": _activate,
    "orgs.membership.added": lambda e: make_member(e.org),
    "orgs.membership.suspended": lambda e: members.suspend_member(
        actor=SYSTEM, membership=make_member(e.org), reason="left"
    ),
    "orgs.membership.role_changed": lambda e: members.change_role(
        actor=SYSTEM, membership=make_member(e.org), role=get_role("analyst")
    ),
    "access.role.built_in_synchronised": _sync_roles,
    "access.role.created": lambda e: roles.create_role(
        actor=SYSTEM, org=e.org, name="reader", permissions=["dataset.read"]
    ),
    "access.role.changed": lambda e: roles.change_role_permissions(
        actor=SYSTEM, role=_reader(e), permissions=["dataset.read", "endpoint.invoke"]
    ),
    "access.role.removed": lambda e: roles.remove_role(actor=SYSTEM, role=_reader(e)),
    "access.service_account.enabled": _enable,
    "access.service_account.created": lambda e: make_account(e.project),
    "access.service_account.disabled": lambda e: access.disable_service_account(
        actor=SYSTEM, account=make_account(e.project)
    ),
    "access.grant.created": lambda e: make_account(e.project),
    "access.grant.revoked": _revoke_grant,
    "access.key.created": make_key,
    "access.key.revoked": lambda e: access.revoke_key(actor=SYSTEM, key=make_key(e)[0]),
    "identity.user.created": lambda _: make_user(),
    "identity.user.password_set": lambda _: identity.set_password(
        actor=SYSTEM, user=make_user(), password="correct horse battery"
    ),
    "identity.user.password_changed": lambda _: identity.change_own_password(
        actor=SYSTEM, user=make_user(), password="another long password"
    ),
    "identity.user.logged_in": lambda _: identity.record_login(actor=SYSTEM, user=make_user()),
    "identity.user.login_failed": lambda _: note_failure(make_user()),
    "identity.user.made_admin": lambda _: identity.make_admin(actor=SYSTEM, user=make_user()),
    "identity.user.staff_changed": lambda _: identity.change_staff(actor=SYSTEM, user=make_user(), is_staff=True),
    "identity.user.deactivated": lambda _: identity.deactivate_user(actor=SYSTEM, user=make_user(), reason="left"),
    "audit.chain.verified": lambda e: upkeep.record_chain(actor=SYSTEM, report=verify_chain(e.org_id)),
    "audit.ledger.checked": lambda e: upkeep.record_ledger(actor=SYSTEM, environment=e, report=add_up({"rows": []})),
}
