from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.utils import timezone
from tests.builders.control import (
    make_account,
    make_environment,
    make_key,
    make_member,
    make_owner,
    make_user,
    newest_snapshot,
)

from headwater.control.access.actions import (
    create_key,
    disable_service_account,
    grant,
    revoke_grant,
    revoke_key,
)
from headwater.control.access.authority import allowances_for, has_permission
from headwater.control.access.members import activate_member, change_role, invite_member, suspend_member
from headwater.control.access.models import ApiKey, Grant
from headwater.control.access.queries import actor_for_key, actor_for_user, find_live_key, get_role
from headwater.control.access.roles import create_role
from headwater.control.identity.actions import deactivate_user
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.actions import create_environment, create_project, suspend_organization
from headwater.control.orgs.models import Environment, Membership
from headwater.core.errors import HeadwaterError
from headwater.core.permissions import BUILT_IN_ROLES


def code(caught: pytest.ExceptionInfo[HeadwaterError]) -> str:
    return caught.value.code


def test_a_keys_text_is_returned_once_and_only_its_digest_is_stored(environment: Environment) -> None:
    key, text = make_key(environment)
    head, prefix, secret = text.split("_")
    assert (head, prefix, len(prefix), len(secret)) == ("hw", key.key_prefix, 8, 52)
    stored = ApiKey.unscoped.values().get(pk=key.pk)
    assert stored["secret_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert secret not in str(stored)
    assert find_live_key(text) == key
    assert find_live_key(text[:-1] + "x") is None


def test_a_key_has_what_its_account_has_cut_down_to_its_scopes(environment: Environment) -> None:
    account = make_account(environment.project, role="consumer")
    key, _ = make_key(environment, account)
    assert allowances_for(key, environment).allowed == {f"{name}:*" for name in BUILT_IN_ROLES["consumer"]}
    limited, _ = make_key(environment, account, scopes=["dataset.read:flights", "model.invoke", "sql.run"])
    assert allowances_for(limited, environment).allowed == {"dataset.read:flights", "model.invoke:*"}
    spec = newest_snapshot(environment).keys[limited.secret_sha256]
    assert spec.allowances == {"dataset.read:flights", "model.invoke:*"}
    assert spec.principal_id == account.public_id
    assert spec.roles == ("consumer",)


def test_a_key_opens_its_own_environment_only(environment: Environment) -> None:
    other = create_environment(actor=SYSTEM, project=environment.project, key="other")
    key, _ = make_key(environment)
    assert allowances_for(key, other).allowed == frozenset()
    assert key.secret_sha256 not in newest_snapshot(other).keys
    assert key.secret_sha256 in newest_snapshot(environment).keys


def test_a_revoked_key_leaves_the_next_snapshot(environment: Environment) -> None:
    key, text = make_key(environment)
    before = newest_snapshot(environment)
    revoke_key(actor=SYSTEM, key=key)
    after = newest_snapshot(environment)
    assert after.number == before.number + 1
    assert key.secret_sha256 not in after.keys
    assert find_live_key(text) is None


def test_whatever_closes_a_key_closes_it_in_the_snapshot_too(environment: Environment) -> None:
    account = make_account(environment.project)
    key, text = make_key(environment, account)
    given = Grant.objects.for_org(environment.org).get(service_account=account)
    revoke_grant(actor=SYSTEM, given=given)
    assert newest_snapshot(environment).keys[key.secret_sha256].allowances == frozenset()
    disable_service_account(actor=SYSTEM, account=account)
    assert find_live_key(text) is None

    make_member(environment.org, "owner")
    person = make_member(environment.org, "developer").user
    own, _ = create_key(actor=actor_for_user_with_keys(person), environment=environment, name="mine", user=person)
    assert newest_snapshot(environment).keys[own.secret_sha256].allowances
    deactivate_user(actor=SYSTEM, user=person, reason="left")
    assert newest_snapshot(environment).keys[own.secret_sha256].allowances == frozenset()

    suspend_organization(actor=SYSTEM, org=environment.org, reason="unpaid")
    assert all(not spec.allowances for spec in newest_snapshot(environment).keys.values())


def actor_for_user_with_keys(user: object) -> Actor:
    """A developer may not make keys, so the system does it for them."""
    assert user is not None
    return SYSTEM


def test_a_grant_that_ran_out_counts_no_more(environment: Environment) -> None:
    account = make_account(environment.project)
    now = timezone.now()
    grant(
        actor=SYSTEM,
        scope=environment,
        role=get_role("consumer"),
        service_account=account,
        expires_at=now + timedelta(hours=1),
    )
    key, _ = make_key(environment, account)
    assert "endpoint.invoke:*" in allowances_for(key, environment).allowed
    Grant._base_manager.filter(role__name="consumer").update(expires_at=now - timedelta(seconds=1))
    assert allowances_for(key, environment).allowed == {"dataset.ingest:*"}


def test_a_grant_on_one_resource_reaches_no_other(environment: Environment) -> None:
    account = make_account(environment.project, role="consumer")
    given = Grant.objects.for_org(environment.org).get(service_account=account)
    revoke_grant(actor=SYSTEM, given=given)
    role = get_role("consumer")
    grant(actor=SYSTEM, scope=environment, role=role, service_account=account, resource="dataset:flights")
    assert allowances_for(account, environment).allowed == {"dataset.read:flights"}


def test_a_grant_on_one_project_reaches_no_other(environment: Environment) -> None:
    member = make_member(environment.org, "analyst")
    grant(actor=SYSTEM, scope=environment.project, role=get_role("developer"), membership=member)
    second = create_project(actor=SYSTEM, org=environment.org, slug="sea")
    assert has_permission(member.user, "dataset.write", environment.project)
    assert has_permission(member.user, "dataset.write", environment)
    assert not has_permission(member.user, "dataset.write", second)
    assert not has_permission(member.user, "dataset.write", environment.org)
    assert has_permission(member.user, "dataset.read", second), "the analyst's role holds everywhere"


def test_nobody_gives_what_they_do_not_hold(environment: Environment, owner: Actor) -> None:
    admin = actor_for_user(make_member(environment.org, "admin").user)
    member = make_member(environment.org, "analyst")
    with pytest.raises(HeadwaterError) as caught:
        change_role(actor=admin, membership=member, role=get_role("owner"))
    assert code(caught) == "forbidden"
    assert "sql.run" in caught.value.detail
    with pytest.raises(HeadwaterError) as caught:
        create_role(actor=admin, org=environment.org, name="mighty", permissions=["sql.run"])
    assert code(caught) == "forbidden"
    with pytest.raises(HeadwaterError) as caught:
        make_account_key(admin, environment)
    assert code(caught) == "forbidden"
    change_role(actor=owner, membership=member, role=get_role("owner"))
    assert has_permission(member.user, "sql.run", environment)


def test_nobody_takes_what_they_do_not_hold(environment: Environment, owner: Actor) -> None:
    admin = actor_for_user(make_member(environment.org, "admin").user)
    second = Membership.objects.for_org(environment.org).get(user=make_owner(environment.org).subject)
    given = Grant.objects.for_org(environment.org).get(membership=second)
    for attempt in (
        lambda: suspend_member(actor=admin, membership=second, reason="coup"),
        lambda: change_role(actor=admin, membership=second, role=get_role("analyst")),
        lambda: revoke_grant(actor=admin, given=given),
    ):
        with pytest.raises(HeadwaterError) as caught:
            attempt()
        assert code(caught) == "forbidden"
        assert "organization.write" in caught.value.detail
    developer = make_member(environment.org, "developer")
    change_role(actor=admin, membership=developer, role=get_role("analyst"))
    suspend_member(actor=admin, membership=developer, reason="left")
    assert has_permission(second.user, "organization.write", environment.org)


def make_account_key(actor: Actor, environment: Environment) -> None:
    account = make_account(environment.project, "mighty", role="owner")
    create_key(actor=actor, environment=environment, name="k", service_account=account)


def test_the_last_owner_stays(environment: Environment, owner: Actor) -> None:
    membership = Membership.objects.for_org(environment.org).get(user=owner.subject)
    given = Grant.objects.for_org(environment.org).get(membership=membership)
    for attempt in (
        lambda: suspend_member(actor=owner, membership=membership, reason="holiday"),
        lambda: change_role(actor=owner, membership=membership, role=get_role("analyst")),
        lambda: revoke_grant(actor=owner, given=given),
    ):
        with pytest.raises(HeadwaterError) as caught:
            attempt()
        assert code(caught) == "conflict"
        assert "without an owner" in caught.value.detail
        membership.refresh_from_db()
        given.refresh_from_db()
    assert has_permission(owner.subject, "organization.write", environment.org)
    make_owner(environment.org)
    suspend_member(actor=owner, membership=membership, reason="holiday")
    assert not has_permission(owner.subject, "organization.write", environment.org)


def test_an_invited_member_acts_once_activated(environment: Environment, owner: Actor) -> None:
    user = make_user()
    membership = invite_member(actor=owner, org=environment.org, user=user, role=get_role("developer"))
    assert not has_permission(user, "dataset.read", environment)
    activate_member(actor=owner, membership=membership)
    assert has_permission(user, "dataset.read", environment)
    suspend_member(actor=owner, membership=membership, reason="left")
    assert not has_permission(user, "dataset.read", environment)


def test_a_suspended_member_cannot_mint_a_key(environment: Environment, owner: Actor) -> None:
    membership = make_member(environment.org, "admin")
    actor = actor_for_user(membership.user)
    create_key(actor=actor, environment=environment, name="before", user=membership.user)
    suspend_member(actor=owner, membership=membership, reason="left")
    with pytest.raises(HeadwaterError) as caught:
        create_key(actor=actor, environment=environment, name="after", user=membership.user)
    assert code(caught) == "forbidden"


def test_a_key_acts_within_its_environment_and_project(environment: Environment) -> None:
    account = make_account(environment.project, role="developer")
    key, _ = make_key(environment, account)
    second = create_project(actor=SYSTEM, org=environment.org, slug="sea")
    assert has_permission(key, "dataset.write", environment)
    assert has_permission(key, "dataset.write", environment.project)
    assert not has_permission(key, "dataset.write", second)
    assert not has_permission(key, "dataset.write", environment.org)
    assert not has_permission(key, "key.write", environment)
    assert actor_for_key(key).label == f"loader (key {key.key_prefix})"


def test_built_in_roles_are_what_the_code_says(environment: Environment, owner: Actor) -> None:
    for name, permissions in BUILT_IN_ROLES.items():
        role = get_role(name)
        assert frozenset(role.permissions) == permissions
        assert role.is_sealed
    with pytest.raises(HeadwaterError) as caught:
        create_role(actor=owner, org=environment.org, name="owner", permissions=[])
    assert code(caught) == "conflict"
    with pytest.raises(HeadwaterError) as caught:
        get_role("emperor")
    assert "producer" in (caught.value.hint or "")


def test_an_organisations_own_role_is_nobody_elses(environment: Environment, owner: Actor) -> None:
    create_role(actor=owner, org=environment.org, name="reader", permissions=["dataset.read"])
    assert get_role("reader", environment.org).permissions == ["dataset.read"]
    other = make_environment("other")
    with pytest.raises(HeadwaterError):
        get_role("reader", other.org)
    with pytest.raises(HeadwaterError, match="another organisation"):
        grant(
            actor=SYSTEM,
            scope=other.org,
            role=get_role("reader", environment.org),
            membership=make_member(other.org),
        )


@pytest.mark.parametrize("days", [-1, 0, 4 * 365])
def test_a_key_expires_within_three_years(environment: Environment, days: int) -> None:
    with pytest.raises(HeadwaterError) as caught:
        make_key(environment, expires_at=timezone.now() + timedelta(days=days))
    assert code(caught) == "invalid_parameter"


def test_a_scope_that_is_no_permission_is_refused(environment: Environment) -> None:
    with pytest.raises(HeadwaterError, match="not permissions: dataset") as caught:
        make_key(environment, scopes=["dataset.fly:x"])
    assert code(caught) == "invalid_parameter"


def test_the_same_grant_twice_is_a_conflict(environment: Environment) -> None:
    account = make_account(environment.project)
    with pytest.raises(HeadwaterError) as caught:
        grant(actor=SYSTEM, scope=environment.project, role=get_role("producer"), service_account=account)
    assert code(caught) == "conflict"
