"""How to run every action on groups, rotated keys and policies."""

from __future__ import annotations

from collections.abc import Callable

from tests.builders.control import make_account, make_key, make_member
from tests.builders.policies import declare_dataset, policy

from headwater.control.access.actions import rotate_key
from headwater.control.access.groups import add_to_group, create_group, remove_from_group, remove_group
from headwater.control.access.models import Group
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import archive_policy, reorder_policies


def _group(environment: Environment) -> Group:
    return create_group(actor=SYSTEM, org=environment.org, name="partners")


def _add_member(environment: Environment) -> None:
    add_to_group(actor=SYSTEM, group=_group(environment), membership=make_member(environment.org), reason="hired")


def _remove_member(environment: Environment) -> None:
    account = make_account(environment.project)
    place = add_to_group(actor=SYSTEM, group=_group(environment), service_account=account)
    remove_from_group(actor=SYSTEM, place=place, reason="left")


def _remove_group(environment: Environment) -> None:
    remove_group(actor=SYSTEM, group=_group(environment))


def _rotate(environment: Environment) -> None:
    rotate_key(actor=SYSTEM, key=make_key(environment)[0], reason="yearly")


def _publish(environment: Environment) -> None:
    declare_dataset(environment)
    policy(environment, "all")


def _archive(environment: Environment) -> None:
    declare_dataset(environment)
    archive_policy(actor=SYSTEM, policy=policy(environment, "all"), reason="over")


def _reorder(environment: Environment) -> None:
    declare_dataset(environment)
    policy(environment, "all")
    policy(environment, "few", priority=20)
    reorder_policies(actor=SYSTEM, environment=environment, resource="dataset:flights", names=["few", "all"])


SCENARIOS: dict[str, Callable[[Environment], object]] = {
    "access.group.created": _group,
    "access.group.member_added": _add_member,
    "access.group.member_removed": _remove_member,
    "access.group.removed": _remove_group,
    "access.key.rotated": _rotate,
    "policies.policy.published": _publish,
    "policies.policy.archived": _archive,
    "policies.policy.reordered": _reorder,
}
