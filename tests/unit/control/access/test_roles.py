"""An organisation's own roles are changed and removed without anybody losing, or gaining, by accident."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from tests.builders.control import events, make_account, make_environment, make_key, make_member, newest_snapshot
from tests.builders.http import with_session
from tests.builders.policies import declare_dataset, policy
from tests.builders.sign_on import make_domain, make_provider

from headwater.control.access.actions import disable_service_account, enable_service_account, grant, revoke_grant
from headwater.control.access.authority import has_permission
from headwater.control.access.models import Grant, Role
from headwater.control.access.queries import actor_for_user, get_role
from headwater.control.access.roles import change_role_permissions, create_role, remove_role, uses_of
from headwater.control.identity.invitations import invite
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.control.sso.actions import change_joining
from headwater.core.errors import HeadwaterError


@pytest.fixture
def reader(environment: Environment) -> Role:
    return create_role(actor=SYSTEM, org=environment.org, name="reader", permissions=["dataset.read"])


def refusal(caught: pytest.ExceptionInfo[HeadwaterError]) -> tuple[str, str]:
    return caught.value.code, caught.value.detail


def test_a_changed_role_is_felt_by_members_and_by_keys(environment: Environment, owner: Actor, reader: Role) -> None:
    member = make_member(environment.org, "reader")
    account = make_account(environment.project, role="reader")
    key, _ = make_key(environment, account)
    change_role_permissions(actor=owner, role=reader, permissions=["endpoint.invoke"], reason="tables are not for them")
    assert has_permission(member.user, "endpoint.invoke", environment)
    assert not has_permission(member.user, "dataset.read", environment)
    assert newest_snapshot(environment).keys[key.secret_sha256].allowances == {"endpoint.invoke:*"}
    told = events(environment.org, "access.role.changed")[-1]
    assert (told.before["permissions"], told.after["permissions"]) == (["dataset.read"], ["endpoint.invoke"])
    assert told.reason == "tables are not for them"


@pytest.mark.parametrize(("holds", "asked"), [(["sql.run"], ["dataset.read"]), (["dataset.read"], ["sql.run"])])
def test_nobody_changes_a_role_that_holds_more_than_they_do(
    environment: Environment, holds: list[str], asked: list[str]
) -> None:
    mighty = create_role(actor=SYSTEM, org=environment.org, name="mighty", permissions=holds)
    create_role(
        actor=SYSTEM, org=environment.org, name="keeper", permissions=["member.read", "member.write", "dataset.read"]
    )
    keeper = actor_for_user(make_member(environment.org, "keeper").user)
    with pytest.raises(HeadwaterError, match=r"cannot give or take what they do not hold: sql\.run"):
        change_role_permissions(actor=keeper, role=mighty, permissions=asked)
    if "sql.run" in holds:
        with pytest.raises(HeadwaterError, match=r"sql\.run"):
            remove_role(actor=keeper, role=mighty)


def test_built_in_roles_stay_as_they_are(environment: Environment, owner: Actor) -> None:
    with pytest.raises(HeadwaterError, match="a built-in role and stays as it is"):
        change_role_permissions(actor=SYSTEM, role=get_role("analyst"), permissions=[])
    with pytest.raises(HeadwaterError, match="a built-in role and stays as it is"):
        remove_role(actor=SYSTEM, role=get_role("analyst"))
    api = with_session(environment)
    answers = [
        api("PATCH", "/organizations/acme/roles/analyst", {"permissions": []}),
        api("POST", "/organizations/acme/roles/analyst/remove", {}),
    ]
    assert [(answer.status, answer.body["code"]) for answer in answers] == [(409, "conflict")] * 2


def test_what_is_no_permission_is_refused_by_name(environment: Environment, reader: Role) -> None:
    with pytest.raises(HeadwaterError) as caught:
        change_role_permissions(actor=SYSTEM, role=reader, permissions=["dataset.fly"])
    assert refusal(caught) == ("invalid_parameter", "role: permissions: not permissions: dataset.fly")


def test_a_role_not_in_use_is_removed_and_its_name_is_free_again(environment: Environment, reader: Role) -> None:
    ended = grant(actor=SYSTEM, scope=environment.org, role=reader, membership=make_member(environment.org, "analyst"))
    revoke_grant(actor=SYSTEM, given=ended)
    remove_role(actor=SYSTEM, role=reader, reason="nobody uses it")
    with pytest.raises(HeadwaterError, match="there is no role 'reader'"):
        get_role("reader", environment.org)
    assert Grant.objects.for_org(environment.org).get(pk=ended.pk).role.name == "reader", "history names it still"
    with pytest.raises(HeadwaterError, match="was removed already"):
        remove_role(actor=SYSTEM, role=reader)
    with pytest.raises(HeadwaterError, match="was removed"):
        grant(actor=SYSTEM, scope=environment.org, role=reader, service_account=make_account(environment.project))
    again = create_role(actor=SYSTEM, org=environment.org, name="reader", permissions=["sql.run"])
    assert get_role("reader", environment.org) == again


def test_a_role_in_use_is_not_removed_without_saying_what_happens(
    environment: Environment, owner: Actor, reader: Role
) -> None:
    member = make_member(environment.org, "reader")
    invite(actor=owner, org=environment.org, email="new@example.com", role=reader)
    with pytest.raises(HeadwaterError) as caught:
        remove_role(actor=owner, role=reader)
    code, detail = refusal(caught)
    assert code == "conflict"
    assert f"{member} on acme" in detail
    assert "the invitation of new@example.com" in detail
    assert caught.value.hint == "say which role takes its place, or take it away there first"


def test_another_role_takes_its_place_everywhere(environment: Environment, owner: Actor, reader: Role) -> None:
    org = environment.org
    member = make_member(org, "reader")
    account = make_account(environment.project, role="reader")
    until = timezone.now() + timedelta(days=3)
    grant(actor=owner, scope=environment, role=reader, membership=member, resource="dataset:flights", expires_at=until)
    invitation, _ = invite(actor=owner, org=org, email="new@example.com", role=reader)
    domain = make_domain(org)
    change_joining(actor=SYSTEM, domain=domain, auto_join=True, role=reader)
    provider = make_provider(org)
    provider_role = provider.default_role
    analyst = get_role("analyst")
    remove_role(actor=owner, role=reader, instead=analyst, reason="one reading role is enough")
    held = Grant.objects.for_org(org).filter(revoked_at=None, role=analyst)
    assert {(given.membership_id or given.service_account_id, given.resource, given.expires_at) for given in held} == {
        (member.pk, "", None),
        (account.pk, "", None),
        (member.pk, "dataset:flights", until),
    }
    for row in (invitation, domain, provider):
        row.refresh_from_db()
    assert (invitation.role, domain.default_role, provider.default_role) == (analyst, analyst, provider_role)
    assert uses_of(reader) == []
    assert has_permission(member.user, "endpoint.read", environment)


def test_a_grant_that_lasts_as_long_is_not_given_twice(environment: Environment, owner: Actor, reader: Role) -> None:
    member = make_member(environment.org, "reader")
    analyst = get_role("analyst")
    soon = timezone.now() + timedelta(hours=1)
    short = grant(actor=owner, scope=environment.org, role=analyst, membership=member, expires_at=soon)
    remove_role(actor=owner, role=reader, instead=analyst)
    left = Grant.objects.for_org(environment.org).filter(membership=member, revoked_at=None).get()
    assert (left.role, left.expires_at) == (analyst, None), "nobody loses days by it"
    assert left.pk != short.pk
    second = create_role(actor=SYSTEM, org=environment.org, name="second", permissions=["dataset.read"])
    grant(actor=owner, scope=environment.org, role=second, membership=member)
    remove_role(actor=owner, role=second, instead=analyst)
    assert Grant.objects.for_org(environment.org).filter(membership=member, revoked_at=None).get().pk == left.pk


def test_a_role_that_a_policy_names_is_not_removed_behind_it(environment: Environment, reader: Role) -> None:
    declare_dataset(environment)
    policy(environment, "readers_see_all", principals=["role:reader"])
    with pytest.raises(HeadwaterError, match="the policy readers_see_all in air/dev") as caught:
        remove_role(actor=SYSTEM, role=reader, instead=get_role("analyst"))
    assert caught.value.hint == "change that first"


def test_a_role_is_neither_its_own_successor_nor_anothers(environment: Environment, reader: Role) -> None:
    make_member(environment.org, "reader")
    other = make_environment("other")
    theirs = create_role(actor=SYSTEM, org=other.org, name="theirs", permissions=["dataset.read"])
    with pytest.raises(HeadwaterError, match="cannot take its own place"):
        remove_role(actor=SYSTEM, role=reader, instead=reader)
    with pytest.raises(HeadwaterError, match="belongs to another organisation"):
        remove_role(actor=SYSTEM, role=reader, instead=theirs)


def test_a_role_is_changed_and_removed_over_the_api(environment: Environment, reader: Role) -> None:
    api = with_session(environment)
    path = "/organizations/acme/roles/reader"
    seen = api.get(path).body["revision"]
    changed = api("PATCH", path, {"permissions": ["sql.run"], "revision": seen, "reason": "more"})
    assert changed.body["permissions"] == ["sql.run"]
    late = api("PATCH", path, {"permissions": [], "revision": seen})
    assert (late.status, late.body["code"]) == (409, "conflict")
    make_member(environment.org, "reader")
    uses = api.get(f"{path}/uses").body["uses"]
    assert [use["movable"] for use in uses] == [True]
    assert api.post(f"{path}/remove", {}).status == 409
    assert api.post(f"{path}/remove", {"instead": "analyst"}).status == 200
    assert api.get(path).status == 404
    assert "reader" not in {role["name"] for role in api.get("/organizations/acme/roles").body["items"]}


def test_a_disabled_service_account_is_enabled_by_who_holds_what_it_does(environment: Environment) -> None:
    account = make_account(environment.project, role="consumer")
    key, _ = make_key(environment, account)
    disable_service_account(actor=SYSTEM, account=account, reason="leaked?")
    assert not newest_snapshot(environment).keys[key.secret_sha256].allowances
    create_role(actor=SYSTEM, org=environment.org, name="keeper", permissions=["key.write", "key.read"])
    keeper = actor_for_user(make_member(environment.org, "keeper").user)
    with pytest.raises(HeadwaterError, match="cannot give or take what they do not hold"):
        enable_service_account(actor=keeper, account=account)
    api = with_session(environment)
    answer = api.post(f"/organizations/acme/projects/air/service-accounts/{account.name}/enable", {"reason": "no leak"})
    assert (answer.status, answer.body["disabled_at"]) == (200, None)
    assert newest_snapshot(environment).keys[key.secret_sha256].allowances
    assert events(environment.org, "access.service_account.enabled")[-1].reason == "no leak"


def test_a_project_is_renamed_and_keeps_its_addresses(environment: Environment) -> None:
    api = with_session(environment)
    answer = api("PATCH", "/organizations/acme/projects/air", {"name": "Air traffic", "revision": 1})
    assert (answer.body["name"], answer.body["slug"]) == ("Air traffic", "air")
    assert api("PATCH", "/organizations/acme/projects/air", {"name": "Late", "revision": 1}).status == 409
    assert api("PATCH", "/organizations/acme/projects/air", {"name": ""}).status == 400
