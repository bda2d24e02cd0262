"""Changes to policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment
from headwater.control.policies.fit import problems_of
from headwater.control.policies.models import MAX_PRIORITY, AccessPolicy
from headwater.core.errors import HeadwaterError
from headwater.engines.query.rules import Columns


@action("policies.policy.published", permission="policy.write", on="environment")
def publish_policy(
    *,
    actor: Actor,
    environment: Environment,
    name: str,
    content: Mapping[str, Any],
    columns: Columns,
    reason: str = "",
) -> AccessPolicy:
    """Put a policy in force from now on, in place of one of that name.

    Args:
        actor: who publishes.
        environment: where it holds.
        name: its name.
        content: the other fields of ``AccessPolicy``, principals as ``find_principals`` returns them.
        columns: of its resource, which it must fit.
        reason: why, for the audit log.

    Raises:
        HeadwaterError: ``policy_invalid`` with everything that is wrong, ``conflict`` when another policy has that
            priority on the resource, or the one of that name is about another resource.
    """
    require_sound(name, content, columns)
    rows = AccessPolicy.objects.for_org(environment.org_id).filter(environment=environment, name=name)
    policy: AccessPolicy | None = rows.filter(archived_at=None).first()
    if policy is None:
        policy = AccessPolicy(org_id=environment.org_id, environment=environment, name=name, **content)
        policy.save()
        return policy
    if policy.resource != content["resource"]:
        raise HeadwaterError(
            "conflict",
            f"{name} is a policy on {policy.resource}, and stays one",
            hint="archive it, or choose another name",
        )
    policy.change(**content)
    return policy


@action("policies.policy.archived", permission="policy.write", on="policy")
def archive_policy(*, actor: Actor, policy: AccessPolicy, reason: str = "") -> AccessPolicy:
    """Take a policy out of force.

    Whom it matched is decided about by the next one. Where it was the last one on a dataset that is not protected, that
    dataset is open again to those who may read it.
    """
    if policy.archived_at is None:
        policy.change(archived_at=timezone.now())
    return policy


@action("policies.policy.reordered", permission="policy.write", on="environment")
def reorder_policies(
    *, actor: Actor, environment: Environment, resource: str, names: Sequence[str], reason: str = ""
) -> list[AccessPolicy]:
    """Let the policies on a resource be asked in the order of ``names``; they share out the priorities they have.

    Raises:
        HeadwaterError: ``conflict`` unless ``names`` are those of the policies in force on the resource, once each.
    """
    rows = AccessPolicy.objects.for_org(environment.org_id).filter(
        environment=environment, resource=resource, archived_at=None
    )
    found = {policy.name: policy for policy in rows.order_by("priority")}
    if sorted(names) != sorted(found):
        raise HeadwaterError(
            "conflict",
            f"the policies on {resource[:140]} are {', '.join(found) or 'none'}",
            hint="name each of them once, in the order wanted",
        )
    priorities = [policy.priority for policy in found.values()]
    moved = [(found[name], priority) for name, priority in zip(names, priorities, strict=True)]
    moved = [(policy, priority) for policy, priority in moved if policy.priority != priority]
    free = (number for number in range(MAX_PRIORITY, -1, -1) if number not in priorities)
    # No two may have one priority even for a moment: first all go out of the way.
    for policy, _ in moved:
        policy.change(priority=next(free))
    for policy, priority in moved:
        policy.change(priority=priority)
    return [found[name] for name in names]


def require_sound(name: str, content: Mapping[str, Any], columns: Columns) -> None:
    """Raise ``policy_invalid`` with everything that is wrong with a policy's fields over ``columns``."""
    problems = problems_of(content, columns)
    if problems:
        errors = [{"path": problem.path, "message": problem.message} for problem in problems]
        raise HeadwaterError(
            "policy_invalid", f"policy {name}, {errors[0]['path']}: {errors[0]['message']}", extra={"errors": errors}
        )
