"""Whether policies fit what they are about: its columns, and the principals that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwater.control.access.models import Group, Role, ServiceAccount
from headwater.control.orgs.models import Environment, Membership
from headwater.control.policies.models import AccessPolicy
from headwater.core.errors import HeadwaterError
from headwater.core.ids import parse_id
from headwater.core.policies import EVERYONE
from headwater.engines.query.policies import PolicyProblem, find_problems
from headwater.engines.query.rules import Columns


def live_policies(environment: Environment) -> list[AccessPolicy]:
    """Return the policies of an environment that are in force or will be asked again, by resource and priority."""
    rows = AccessPolicy.objects.for_org(environment.org_id).filter(environment=environment, archived_at=None)
    return list(rows.select_related("environment").order_by("resource", "priority"))


def problems_of(content: Mapping[str, Any], columns: Columns) -> list[PolicyProblem]:
    """Return what is wrong with a policy's fields over ``columns``."""
    return find_problems(
        columns,
        row_filter=content["row_filter"],
        attributes=content["attributes"],
        masks=content["columns"],
    )


def content_of(policy: AccessPolicy) -> dict[str, Any]:
    """Return the fields of a policy but its name, as ``publish_policy`` takes them."""
    names = ("resource", "priority", "principals", "row_filter", "attributes", "columns", "purpose", "expires_at")
    return {name: getattr(policy, name) for name in names}


def require_fit(environment: Environment, resource: str, columns: Columns) -> None:
    """Raise ``conflict`` when ``resource`` cannot have these columns while the policies on it are as they are."""
    found = [
        {"path": problem.path, "message": f"policy {policy.name}: {problem.message}"}
        for policy in live_policies(environment)
        if policy.resource == resource
        for problem in problems_of(content_of(policy), columns)
    ]
    if found:
        raise HeadwaterError(
            "conflict",
            f"policies on {resource} do not fit its columns: {found[0]['message']}",
            hint="change the policies first, or keep the columns",
            extra={"errors": found},
        )


def find_principals(environment: Environment, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return principals as snapshots name them, and what is wrong with those that cannot be found.

    People and programs are kept by id: whoever takes over a name or an address takes over no policy.
    """
    found: list[str] = []
    problems: list[str] = []
    for name in names:
        kind, _, which = name.partition(":")
        principal = _find(environment, kind, which)
        if principal is None:
            known = _known(environment, kind)
            problems.append(f"there is no {kind.replace('_', ' ')} {which!r}; there are: {', '.join(known) or 'none'}")
        else:
            found.append(principal)
    return found, problems


def show_principal(environment: Environment, principal: str) -> str:
    """Return a principal as people write it."""
    return show_principals(environment, [principal])[principal]


def show_principals(environment: Environment, principals: Iterable[str]) -> dict[str, str]:
    """Return principals as people write them, by how policies keep them; those who are gone stay as they are kept."""
    listed = set(principals)
    accounts = {one: ServiceAccount.parse_id(one.partition(":")[2]) for one in listed if ":sa_" in one}
    people = {one: parse_id("usr", one.partition(":")[2]) for one in listed if ":usr_" in one}
    names: dict[Any, str] = {}
    if accounts:
        rows = ServiceAccount.objects.for_org(environment.org_id).filter(pk__in=accounts.values())
        names |= {row.pk: f"service_account:{row.name}" for row in rows}
    if people:
        members = Membership.objects.for_org(environment.org_id).filter(user__in=people.values())
        names |= {row.user_id: f"user:{row.user.email}" for row in members.select_related("user")}
    return {one: names.get(accounts.get(one) or people.get(one), one) for one in listed}


def _find(environment: Environment, kind: str, which: str) -> str | None:
    if kind == EVERYONE:
        return EVERYONE
    if kind == "role":
        there = Role.standing.of(environment.org_id).filter(name=which).exists()
        return f"role:{which}" if there else None
    if kind == "group":
        there = Group.objects.for_org(environment.org_id).filter(name=which).exists()
        return f"group:{which}" if there else None
    if kind == "service_account":
        accounts = ServiceAccount.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
        account = next((row for row in accounts if which in (row.name, row.public_id)), None)
        return f"service_account:{account.public_id}" if account else None
    members = Membership.objects.for_org(environment.org_id).select_related("user")
    member = next((row for row in members if which.lower() in (row.user.email, row.user.public_id.lower())), None)
    return f"user:{member.user.public_id}" if member else None


def _known(environment: Environment, kind: str) -> Sequence[str]:
    """Return what there is of a kind; addresses of people are nobody's business here."""
    if kind == "role":
        return sorted(Role.standing.of(environment.org_id).values_list("name", flat=True))
    if kind == "group":
        return sorted(Group.objects.for_org(environment.org_id).values_list("name", flat=True))[:20]
    if kind == "service_account":
        accounts = ServiceAccount.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
        return sorted(accounts.values_list("name", flat=True))[:20]
    return ["the addresses of members"]
