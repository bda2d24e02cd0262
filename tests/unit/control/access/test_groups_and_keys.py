"""Groups, rotation, networks and attributes of keys, grants that end on time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from tests.builders.control import (
    events,
    make_account,
    make_environment,
    make_key,
    make_member,
    newest_snapshot,
)

from headwater.control.access.actions import create_key, grant, rotate_key
from headwater.control.access.groups import add_to_group, create_group, remove_from_group, remove_group
from headwater.control.access.models import ApiKey, GroupMember, KeyUse
from headwater.control.access.places import note_uses
from headwater.control.access.queries import actor_for_user, find_live_key, get_role
from headwater.control.access.roles import create_role
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


def spec_of(environment: Environment, key: ApiKey):  # type: ignore[no-untyped-def] # noqa: ANN201 - a spec
    return newest_snapshot(environment).keys[key.secret_sha256]


def test_who_cannot_give_a_role_cannot_put_anybody_into_a_group_that_has_it(environment: Environment) -> None:
    team = create_group(actor=SYSTEM, org=environment.org, name="owners")
    grant(actor=SYSTEM, scope=environment.org, role=get_role("owner"), group=team)
    admin = make_member(environment.org, "admin")
    with pytest.raises(HeadwaterError, match="cannot give or take"):
        add_to_group(actor=actor_for_user(admin.user), group=team, membership=admin)
    assert not GroupMember.objects.for_org(environment.org).exists()


def test_a_group_counts_in_keys_and_stops_counting_when_left(environment: Environment) -> None:
    account = make_account(environment.project, "loader")
    key, _ = make_key(environment, account)
    team = create_group(actor=SYSTEM, org=environment.org, name="partners")
    grant(actor=SYSTEM, scope=environment, role=get_role("consumer"), group=team)
    place = add_to_group(actor=SYSTEM, group=team, service_account=account)
    spec = spec_of(environment, key)
    assert spec.can("endpoint.invoke", "delays")
    assert spec.groups == ("partners",)
    assert spec.roles == ("consumer", "producer")
    remove_from_group(actor=SYSTEM, place=place)
    spec = spec_of(environment, key)
    assert not spec.can("endpoint.invoke", "delays")
    assert spec.groups == ()


def test_a_place_that_a_directory_manages_is_left_to_the_directory(environment: Environment) -> None:
    team = create_group(actor=SYSTEM, org=environment.org, name="partners")
    place = add_to_group(actor=SYSTEM, group=team, membership=make_member(environment.org), managed_by="scim")
    with pytest.raises(HeadwaterError, match="managed by"):
        remove_from_group(actor=SYSTEM, place=place)
    remove_from_group(actor=SYSTEM, place=place, managed_by="scim")
    remove_group(actor=SYSTEM, group=team)
    assert [event.action for event in events(environment.org)][-1] == "access.group.removed"


def test_nobody_of_another_organisation_gets_into_a_group(environment: Environment) -> None:
    team = create_group(actor=SYSTEM, org=environment.org, name="partners")
    stranger = make_member(make_environment("other").org)
    with pytest.raises(HeadwaterError, match="another organisation"):
        add_to_group(actor=SYSTEM, group=team, membership=stranger)


def test_a_grant_that_ends_is_a_later_phase_of_the_key(environment: Environment) -> None:
    account = make_account(environment.project, "loader")
    key, _ = make_key(environment, account)
    soon = timezone.now() + timedelta(hours=1)
    grant(actor=SYSTEM, scope=environment, role=get_role("consumer"), service_account=account, expires_at=soon)
    spec = spec_of(environment, key)
    assert spec.can("endpoint.invoke", "delays")
    (phase,) = spec.later
    assert phase.starts_at == soon
    then = spec.at(soon)
    assert not then.can("endpoint.invoke", "delays")
    assert then.can("dataset.ingest", "flights")
    assert then.roles == ("producer",)


def test_both_keys_open_during_the_overlap_and_one_afterwards(environment: Environment) -> None:
    old, old_text = make_key(environment, scopes=["dataset.ingest:flights"], cidrs=["10.0.0.0/8"])
    new, new_text = rotate_key(actor=SYSTEM, key=old, overlap=timedelta(hours=2))
    assert find_live_key(old_text) == old
    assert find_live_key(new_text) == new
    assert (new.rotated_from, new.scopes, new.cidrs) == (old, old.scopes, old.cidrs)
    assert abs(old.expires_at - timezone.now() - timedelta(hours=2)) < timedelta(minutes=1)
    assert not old.is_live(timezone.now() + timedelta(hours=2))
    assert spec_of(environment, old).expires_at == old.expires_at


def test_a_key_is_followed_by_one_key_only(environment: Environment) -> None:
    old, _ = make_key(environment)
    rotate_key(actor=SYSTEM, key=old)
    with pytest.raises(HeadwaterError, match="rotated already"):
        rotate_key(actor=SYSTEM, key=old)


def test_a_key_that_is_over_is_not_rotated(environment: Environment) -> None:
    old, _ = make_key(environment)
    rotate_key(actor=SYSTEM, key=old, overlap=timedelta(0))
    with pytest.raises(HeadwaterError, match="opens nothing"):
        rotate_key(actor=SYSTEM, key=old)


@pytest.mark.parametrize("networks", [["10.0.0.1/8"], ["everywhere"], ["10.0.0.0/33"], [""]])
def test_networks_that_are_none_are_refused(environment: Environment, networks: list[str]) -> None:
    with pytest.raises(HeadwaterError, match="no network"):
        make_key(environment, cidrs=networks)


@pytest.mark.parametrize(
    "attributes", [{"id": "usr_1"}, {"Upper": 1}, {"list": [1, "a"]}, {"nested": {"a": 1}}, {"n": None}]
)
def test_attributes_that_filters_cannot_use_are_refused(
    environment: Environment, attributes: dict[str, object]
) -> None:
    with pytest.raises(HeadwaterError, match="attributes"):
        make_key(environment, attributes=attributes)


def test_attributes_decide_rows_so_giving_them_takes_the_right_to_decide_rows(environment: Environment) -> None:
    role = create_role(actor=SYSTEM, org=environment.org, name="keymaker", permissions=["key.write", "dataset.ingest"])
    member = make_member(environment.org, "producer")
    grant(actor=SYSTEM, scope=environment.org, role=role, membership=member)
    account = make_account(environment.project, "loader")
    actor: Actor = actor_for_user(member.user)
    made, _ = create_key(actor=actor, environment=environment, name="k", service_account=account)
    assert made.attributes == {}
    with pytest.raises(HeadwaterError, match=r"policy\.write"):
        create_key(
            actor=actor, environment=environment, name="k", service_account=account, attributes={"carriers": ["AA"]}
        )


def test_the_control_api_refuses_a_key_from_elsewhere_whatever_it_claims(environment: Environment) -> None:
    account = make_account(environment.project, "reader", role="analyst")
    _, text = make_key(environment, account, cidrs=["10.1.0.0/16"])
    path = f"/api/v1/organizations/{environment.org.slug}/projects"
    headers = {"Authorization": f"Bearer {text}"}
    assert Client().get(path, headers=headers, REMOTE_ADDR="10.1.2.3").status_code == 200
    for forwarded in ({}, {"X-Forwarded-For": "10.1.2.3"}):
        reply = Client().get(path, headers=headers | forwarded, REMOTE_ADDR="192.0.2.1")
        assert reply.status_code == 403
        assert "192.0.2.1" in reply.json()["detail"]


def test_the_last_use_of_a_key_is_noted_and_never_goes_back(environment: Environment) -> None:
    account = make_account(environment.project, "reader", role="analyst")
    key, text = make_key(environment, account)
    before = newest_snapshot(environment).number
    path = f"/api/v1/organizations/{environment.org.slug}/projects"
    assert Client().get(path, headers={"Authorization": f"Bearer {text}"}).status_code == 200
    used = KeyUse.objects.get(key=key).last_used_at
    assert timezone.now() - used < timedelta(minutes=1)

    note_uses({key.pk: used - timedelta(days=1)})
    assert KeyUse.objects.get(key=key).last_used_at == used
    note_uses({key.pk: used + timedelta(seconds=5)})
    assert KeyUse.objects.get(key=key).last_used_at == used + timedelta(seconds=5)
    assert newest_snapshot(environment).number == before


def test_limits_of_a_key_reach_the_data_plane_and_pass_to_its_successor(environment: Environment) -> None:
    key, _ = make_key(environment, limits={"requests_per_second": 5, "max_rows": 100})
    spec = spec_of(environment, key)
    assert (spec.limits.requests_per_second, spec.limits.max_rows, spec.limits.concurrency) == (5, 100, None)
    successor, _ = rotate_key(actor=SYSTEM, key=key)
    assert successor.limits == key.limits


@pytest.mark.parametrize("limits", [{"rows": 5}, {"max_rows": 0}, {"max_rows": "many"}, {"concurrency": 1.5}])
def test_limits_that_bound_nothing_are_refused(environment: Environment, limits: dict[str, object]) -> None:
    with pytest.raises(HeadwaterError, match="limit"):
        make_key(environment, limits=limits)
