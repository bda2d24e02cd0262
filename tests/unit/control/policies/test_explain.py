"""Ten questions about who may do what, each with what decides it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from tests.builders.control import make_account, make_environment, make_key, make_member
from tests.builders.policies import declare_dataset, policy

from headwater.control.access.actions import disable_service_account, grant, revoke_grant
from headwater.control.access.authority import Scope, has_permission
from headwater.control.access.groups import add_to_group, create_group
from headwater.control.access.members import suspend_member
from headwater.control.access.models import ApiKey, Grant, ServiceAccount
from headwater.control.access.queries import get_role
from headwater.control.access.roles import create_role
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.actions import suspend_organization
from headwater.control.orgs.models import Environment
from headwater.control.policies.explain import Explanation, Question, explain
from headwater.core.errors import HeadwaterError

FLIGHTS = "dataset:flights"


def ask(environment: Environment, who: Any, permission: str, resource: str = FLIGHTS, **more: Any) -> Explanation:
    """Return the answer, having held it against what the authority itself decides."""
    answer = explain(Question(who, permission, environment, resource, **more))
    if not more:
        scope = Scope(environment.org_id, environment.project_id, environment.id, resource)
        assert has_permission(who, permission, scope) is answer.allowed
    return answer


def test_a_grant_to_a_group_is_named_with_the_group(environment: Environment) -> None:
    member = make_member(environment.org, "producer")
    team = create_group(actor=SYSTEM, org=environment.org, name="partners")
    grant(actor=SYSTEM, scope=environment.project, role=get_role("analyst"), group=team)
    assert not ask(environment, member.user, "dataset.read").allowed
    add_to_group(actor=SYSTEM, group=team, membership=member)
    answer = ask(environment, member.user, "dataset.read")
    assert answer.allowed
    assert answer.grant is not None
    assert answer.grant.group == team
    assert "through the group partners" in answer.reason


def test_an_expired_grant_is_named_with_when_it_ended(environment: Environment) -> None:
    account = make_account(environment.project, "loader", role="producer")
    grant(
        actor=SYSTEM, scope=environment, role=get_role("consumer"), service_account=account,
        expires_at=timezone.now() - timedelta(days=1),
    )  # fmt: skip
    answer = ask(environment, account, "endpoint.invoke", "endpoint:delays")
    assert not answer.allowed
    assert answer.decided_by == "no_grant"
    assert "the role consumer" in answer.considered[0]
    assert "expired on" in answer.considered[0]


def test_a_disabled_member_is_what_decides_whatever_their_grants(environment: Environment) -> None:
    member = make_member(environment.org, "admin")
    assert ask(environment, member.user, "dataset.write").allowed
    suspend_member(actor=SYSTEM, membership=member, reason="left")
    answer = ask(environment, member.user, "dataset.write")
    assert (answer.allowed, answer.decided_by) == (False, "membership")
    assert "suspended" in answer.reason


def test_a_key_with_narrower_scopes_is_told_from_a_principal_without_grants(environment: Environment) -> None:
    account = make_account(environment.project, "loader", role="producer")
    key, _ = make_key(environment, account, scopes=["dataset.ingest:weather"])
    answer = ask(environment, key, "dataset.ingest")
    assert (answer.allowed, answer.decided_by) == (False, "key")
    assert "dataset.ingest:weather" in answer.reason
    assert "itself may" in answer.reason
    assert ask(environment, key, "dataset.ingest", "dataset:weather").allowed


def test_a_key_used_from_elsewhere_is_refused_for_its_network(environment: Environment) -> None:
    key, _ = make_key(environment, cidrs=["10.1.0.0/16"])
    answer = ask(environment, key, "dataset.ingest", address="192.0.2.7")
    assert (answer.allowed, answer.decided_by) == (False, "network")
    assert "10.1.0.0/16" in answer.reason
    assert ask(environment, key, "dataset.ingest", address="10.1.2.3").allowed


def test_a_protected_dataset_without_a_policy_is_readable_and_shows_nothing(environment: Environment) -> None:
    declare_dataset(environment, protected=True)
    member = make_member(environment.org, "analyst")
    answer = ask(environment, member.user, "dataset.read")
    assert answer.allowed
    (rows,) = answer.rows
    assert (rows.shows, rows.policy) == ("none", None)
    assert "no policy on it matches" in rows.reason


def test_a_masked_column_is_named_with_the_policy_that_masks_it(environment: Environment) -> None:
    declare_dataset(environment)
    policy(environment, "analysts", principals=["role:analyst"], columns={"tail": "hide"}, row_filter="carrier = 'AA'")
    member = make_member(environment.org, "analyst")
    (rows,) = ask(environment, member.user, "dataset.read").rows
    assert rows.policy is not None
    assert (rows.policy.name, rows.shows) == ("analysts", "some")
    assert "tail hidden" in rows.reason
    assert "carrier = 'AA'" in rows.reason


def test_a_custom_role_decides_as_a_built_in_one_does(environment: Environment) -> None:
    role = create_role(actor=SYSTEM, org=environment.org, name="auditor", permissions=["quarantine.read"])
    account = make_account(environment.project, "auditing", role="producer")
    grant(actor=SYSTEM, scope=environment.project, role=role, service_account=account)
    assert "the role auditor" in ask(environment, account, "quarantine.read").reason
    assert not ask(environment, account, "quarantine.resolve").allowed


def test_a_grant_on_one_resource_is_named_when_another_is_asked_for(environment: Environment) -> None:
    account = make_account(environment.project, "reader", role="producer")
    grant(actor=SYSTEM, scope=environment, role=get_role("analyst"), service_account=account, resource=FLIGHTS)
    assert ask(environment, account, "dataset.read").allowed
    answer = ask(environment, account, "dataset.read", "dataset:weather")
    assert not answer.allowed
    assert "is for dataset:flights only" in answer.considered[0]


def test_a_suspended_organisation_is_what_decides(environment: Environment) -> None:
    account = make_account(environment.project, "loader")
    suspend_organization(actor=SYSTEM, org=environment.org, reason="unpaid")
    answer = ask(environment, account, "dataset.ingest")
    assert (answer.allowed, answer.decided_by) == (False, "organization")
    assert "suspended" in answer.reason


def revoked(_environment: Environment, account: ServiceAccount, _key: ApiKey) -> None:
    revoke_grant(actor=SYSTEM, given=Grant.objects.for_org(account.org_id).get(service_account=account))


def disabled(_environment: Environment, account: ServiceAccount, _key: ApiKey) -> None:
    disable_service_account(actor=SYSTEM, account=account)


@pytest.mark.parametrize(("change", "word"), [(revoked, "was revoked"), (disabled, "was disabled")])
def test_whatever_is_taken_away_is_named(environment: Environment, change: Callable[..., None], word: str) -> None:
    account = make_account(environment.project, "loader")
    key, _ = make_key(environment, account)
    change(environment, account, key)
    account.refresh_from_db()
    key = ApiKey.unscoped.get(pk=key.pk)
    assert word in ask(environment, key, "dataset.ingest").reason
    assert word in ask(environment, account, "dataset.ingest").reason


def test_a_key_of_another_environment_opens_nothing_here(environment: Environment) -> None:
    other = make_environment("other")
    key, _ = make_key(other)
    answer = ask(environment, key, "dataset.ingest")
    assert (answer.allowed, answer.decided_by) == (False, "key")


def test_a_resource_of_another_kind_is_refused_with_the_right_one(environment: Environment) -> None:
    with pytest.raises(HeadwaterError) as caught:
        ask(environment, make_member(environment.org).user, "dataset.read", "model:flights")
    assert caught.value.code == "invalid_parameter"
    assert "dataset:<name>" in str(caught.value.hint)
