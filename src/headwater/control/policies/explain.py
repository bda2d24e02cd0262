"""Why somebody can or cannot do something: the decision, and the grant, key or policy that made it.

The answer comes from the same look-ups as the decision itself, so what is explained is what happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from django.contrib.auth import get_user_model
from django.utils import timezone

from headwater.control.access.authority import Scope, covers, reaches
from headwater.control.access.models import ApiKey, Grant, GroupMember, ServiceAccount
from headwater.control.orgs.models import Environment, Membership, Organization
from headwater.control.policies.row_access import RowAccess, explain_rows
from headwater.core.addresses import is_within, read_address, read_networks
from headwater.core.errors import HeadwaterError
from headwater.core.permissions import BUILT_IN_ROLES, PERMISSIONS, is_allowed, resource_kind

DecidedBy = Literal["grant", "no_grant", "key", "network", "principal", "membership", "organization", "administrator"]
_ROWS: Final = ("dataset.read", "endpoint.invoke")
_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Question:
    """Can ``who`` (a user, service account or key) do ``permission`` on ``resource`` there?

    ``resource`` is kind and name, such as ``dataset:flights``, or empty: everything of the kind. ``address`` is where
    they come from, None: it does not matter.
    """

    who: Any
    permission: str
    environment: Environment
    resource: str = ""
    address: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer.

    Attributes:
        allowed: the decision.
        decided_by: what kind of thing decided.
        reason: the decision and its reason in a sentence.
        grant: the grant that gives it.
        considered: grants that would give it and do not, each with why.
        rows: which policy decides what is shown, where rows come out.
    """

    allowed: bool
    decided_by: DecidedBy
    reason: str
    grant: Grant | None = None
    considered: tuple[str, ...] = ()
    rows: tuple[RowAccess, ...] = ()


def explain(question: Question) -> Explanation:
    """Return the decision and what made it.

    Raises:
        HeadwaterError: ``invalid_parameter`` for a permission that there is not, or a resource of another kind.
    """
    _check(question)
    question = replace(question, at=question.at or timezone.now())
    answer = _as_key(question) if isinstance(question.who, ApiKey) else _as_principal(question)
    if answer.allowed and question.permission in _ROWS and question.resource:
        return replace(answer, rows=explain_rows(question.who, question.environment, question.resource, _at(question)))
    return answer


def find_who(environment: Environment, text: str) -> Any:
    """Return the user, service account or key that ``text`` names: an address, a name, an id, or a key's prefix.

    Raises:
        HeadwaterError: ``not_found`` saying what may be written.
    """
    org = environment.org_id
    members = Membership.objects.for_org(org).select_related("user")
    if "@" in text:
        found: Any = members.filter(user__email=text.strip().lower()).first()
        found = found and found.user
    elif text.startswith("usr_"):
        found = next((row.user for row in members if row.user.public_id == text), None)
    else:
        found = _find_key(environment, text) or _find_account(environment, text)
    if found is None:
        raise HeadwaterError(
            "not_found",
            f"nobody here is called {text[:100]!r}",
            hint="name a member by address, a service account by name, or a key by its id (key_…) or prefix (hw_…)",
        )
    return found


def _find_key(environment: Environment, text: str) -> ApiKey | None:
    keys = ApiKey.objects.for_org(environment.org_id).select_related("service_account", "user", "environment__project")
    if text.startswith("key_"):
        return keys.filter(pk=ApiKey.parse_id(text)).first()
    if text.startswith("hw_"):
        return keys.filter(key_prefix=text.split("_")[1][:8]).first()
    return None


def _find_account(environment: Environment, text: str) -> ServiceAccount | None:
    accounts = ServiceAccount.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    if text.startswith("sa_"):
        return accounts.filter(pk=ServiceAccount.parse_id(text)).first()
    return accounts.filter(name=text).first()


def _check(question: Question) -> None:
    if question.permission not in PERMISSIONS:
        raise HeadwaterError(
            "invalid_parameter",
            f"{question.permission[:64]!r} is not a permission",
            hint=f"one of: {', '.join(sorted(PERMISSIONS))}",
        )
    kind, separator, name = question.resource.partition(":")
    wanted = resource_kind(question.permission)
    if question.resource and (not separator or not name or kind != wanted):
        raise HeadwaterError(
            "invalid_parameter",
            f"{question.permission} is not held on {question.resource[:100]!r}",
            hint=f"write {wanted}:<name>, or leave the resource out",
        )


def _as_key(question: Question) -> Explanation:
    key: ApiKey = question.who
    refusal = _key_refusal(question, key)
    if refusal is not None:
        return refusal
    answer = _as_principal(replace(question, who=key.service_account or key.user), through=key)
    if answer.allowed and key.scopes and not _within(key.scopes, question):
        return Explanation(
            False,
            "key",
            f"{key} is limited to {', '.join(key.scopes)}, which leaves {_what(question)} out; "
            f"{key.service_account or key.user} itself may",
            grant=answer.grant,
        )
    return answer


def _key_refusal(question: Question, key: ApiKey) -> Explanation | None:
    """Return why the key opens nothing in the first place."""
    if key.revoked_at is not None:
        return Explanation(False, "key", f"{key} was revoked on {_day(key.revoked_at)}")
    if not key.is_live(_at(question)):
        return Explanation(False, "key", f"{key} expired on {_day(key.expires_at)}")
    if key.environment_id != question.environment.id:
        return Explanation(False, "key", f"{key} is of {key.environment}, and opens nothing in {question.environment}")
    if key.cidrs and question.address is not None:
        address = read_address(question.address)
        if not is_within(address, read_networks(tuple(key.cidrs))):
            where = f"{', '.join(key.cidrs)} only, not from {question.address[:64]}"
            return Explanation(False, "network", f"{key} may be used from {where}")
    return None


def _within(scopes: Iterable[str], question: Question) -> bool:
    name = question.resource.partition(":")[2] or "*"
    whole = {scope if ":" in scope else f"{scope}:*" for scope in scopes}
    return is_allowed(whole, question.permission, name)


def _as_principal(question: Question, through: ApiKey | None = None) -> Explanation:
    who, org = question.who, question.environment.org
    if through is None and getattr(who, "is_superuser", False) and who.is_active:
        return Explanation(True, "administrator", f"{who} operates the platform and may do everything")
    if org.status != Organization.Status.ACTIVE:
        reason = f"the organisation {org} is {org.status}, so nobody may do anything in it"
        return Explanation(False, "organization", reason)
    refusal = _inactive(who, question)
    if refusal is not None:
        return refusal
    return _by_grants(question, who)


def _inactive(who: Any, question: Question) -> Explanation | None:
    """Return why a principal may do nothing at all."""
    if isinstance(who, ServiceAccount):
        disabled = f"the service account {who} was disabled on {_day(who.disabled_at)}" if who.disabled_at else ""
        return Explanation(False, "principal", disabled) if disabled else None
    if not who.is_active:
        return Explanation(False, "principal", f"{who} was disabled")
    return None if who.is_superuser else _no_member(who, question)


def _no_member(who: Any, question: Question) -> Explanation | None:
    member = Membership.objects.for_org(question.environment.org_id).filter(user=who).first()
    if member is None:
        return Explanation(False, "membership", f"{who} is no member of {question.environment.org}")
    if member.status != Membership.Status.ACTIVE:
        return Explanation(False, "membership", f"{who} is a member whose status is {member.status}, not active")
    return None


def _by_grants(question: Question, who: Any) -> Explanation:
    scope = _scope(question)
    grants = list(_all_grants(question, who))
    for grant in grants:
        if covers(grant, question.permission, scope, _at(question)):
            until = f", until {_day(grant.expires_at)}" if grant.expires_at else ""
            through = f" through the group {grant.group}" if grant.group else ""
            reason = f"{who} may {_what(question)}: the role {grant.role} on {grant.scope}{through}{until} has it"
            return Explanation(True, "grant", reason, grant=grant)
    considered = [why for grant in grants if (why := _why_not(grant, question, scope)) is not None]
    roles = [name for name, held in BUILT_IN_ROLES.items() if question.permission in held]
    nearly = f"; {considered[0]}" if considered else ""
    reason = (
        f"{who} may not {_what(question)}: no grant gives {question.permission} there{nearly}. "
        f"Built-in roles that have it: {', '.join(roles)}"
    )
    return Explanation(False, "no_grant", reason, considered=tuple(considered[:_LISTED]))


def _all_grants(question: Question, who: Any) -> Iterable[Grant]:
    """Return every grant that a principal ever had of itself or has through a group, the newest first."""
    org = question.environment.org_id
    is_user = isinstance(who, get_user_model())
    mine = {"membership__user": who} if is_user else {"service_account": who}
    groups = GroupMember.objects.for_org(org).filter(**mine).values("group")
    rows = Grant.objects.for_org(org).select_related(
        "role", "group", "org", "project__org", "environment__project", "membership__user", "service_account"
    )
    return (rows.filter(**mine) | rows.filter(group__in=groups)).order_by("-created_at")


def _why_not(grant: Grant, question: Question, scope: Scope) -> str | None:
    """Return why a grant whose role has the permission does not give it here; None: its role has not."""
    if question.permission not in grant.role.permissions:
        return None
    name = f"the role {grant.role} on {grant.scope}" + (f" through the group {grant.group}" if grant.group else "")
    if grant.revoked_at is not None:
        return f"{name} was revoked on {_day(grant.revoked_at)}"
    if not grant.is_live(_at(question)):
        assert grant.expires_at is not None
        return f"{name} expired on {_day(grant.expires_at)}"
    if not reaches(grant, scope):
        return f"{name} lies elsewhere"
    return f"{name} is for {grant.resource} only"


def _scope(question: Question) -> Scope:
    environment = question.environment
    return Scope(environment.org_id, environment.project_id, environment.id, question.resource)


def _what(question: Question) -> str:
    return f"{question.permission} on {question.resource or 'everything'} in {question.environment}"


def _at(question: Question) -> datetime:
    assert question.at is not None
    return question.at


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
