"""Policies are written, put in order, tried and archived in the console and over the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from tests.builders.console import signed_in
from tests.builders.control import events, make_account, make_member, newest_snapshot
from tests.builders.http import with_key, with_session
from tests.builders.policies import declare_dataset, policy

from headwater.control.access.roles import create_role
from headwater.control.identity.actions import change_staff
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import reorder_policies
from headwater.control.policies.models import AccessPolicy
from headwater.core.errors import HeadwaterError

HERE = "/o/acme/air/dev/policies/"
API = "/organizations/acme/projects/air/environments/dev/policies"


@pytest.fixture
def client(environment: Environment, owner: Actor) -> Client:
    declare_dataset(environment)
    return signed_in(owner.subject)


def values(**more: Any) -> dict[str, Any]:
    return {
        "name": "partners_see_their_own", "purpose": "Partners see theirs", "principals": "role:analyst\n",
        "rows": "carrier in (caller.carriers)", "attributes": "carriers: strings", "priority": "10",
        "column-tail": "hash", "column-distance": "shown", "expires_at": "", "reason": "a contract with them",
    } | more  # fmt: skip


def text(reply: Any) -> str:
    found: str = reply.content.decode()
    return found


def names(environment: Environment) -> list[str]:
    rows = AccessPolicy.objects.for_org(environment.org).filter(archived_at=None)
    return list(rows.order_by("resource", "priority").values_list("name", flat=True))


def test_a_policy_is_written_field_by_field_and_reaches_the_services(environment: Environment, client: Client) -> None:
    assert "Tail" in text(client.get(f"{HERE}on/dataset/flights/new/")).title()
    reply = client.post(f"{HERE}on/dataset/flights/new/", values(), follow=True)
    assert "partners_see_their_own is in force within a second." in text(reply)
    spec = newest_snapshot(environment).policies["partners_see_their_own"]
    assert (spec.row_filter, spec.attributes) == ("carrier in (caller.carriers)", {"carriers": "strings"})
    assert (spec.columns, spec.principals) == ({"tail": "hash"}, ("role:analyst",))
    assert events(environment.org, "policies.policy.published")[-1].reason == "a contract with them"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rows": "carier = 'UA'"}, "carier"),
        ({"rows": "carrier in (caller.airlines)"}, "airlines"),
        ({"principals": "role:nobody"}, "There is no role"),
        ({"principals": "somebody"}, "write everyone, role:"),
        ({"attributes": "carriers"}, "Write a name, a colon and a type"),
        ({"attributes": "carriers: words"}, "Input should be"),
        ({"priority": "-1"}, "greater than or equal to 0"),
        ({"name": "With Spaces"}, "use lower-case letters"),
        ({"expires_at": "soon"}, "Enter a valid date"),
        ({"column-tail": "blurred"}, "Select a valid choice"),
        ({"column-distance": "last4"}, "last4"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said_where_it_was_written(
    environment: Environment, client: Client, wrong: dict[str, str], told: str
) -> None:
    page = text(client.post(f"{HERE}on/dataset/flights/new/", values(**wrong)))
    assert told in page.replace("&#x27;", "'")
    assert names(environment) == []


def test_a_policy_is_tried_before_it_is_in_force(environment: Environment, client: Client) -> None:
    member = make_member(environment.org, "analyst")
    tried = values(preview="1", who=member.user.email)
    page = text(client.post(f"{HERE}on/dataset/flights/new/", tried))
    assert "filters by caller.carriers, which they lack: no rows are shown" in page
    page = text(client.post(f"{HERE}on/dataset/flights/new/", tried | {"rows": "carrier = 'UA'", "attributes": ""}))
    assert "(priority 10, Partners see theirs) decides: rows where carrier = &#x27;UA&#x27;" in page
    assert "tail shown as a hash" in page
    page = text(client.post(f"{HERE}on/dataset/flights/new/", tried | {"principals": "role:admin"}))
    assert "no policy on it matches" in page
    assert "Nobody here is called" in text(client.post(f"{HERE}on/dataset/flights/new/", tried | {"who": "nobody"}))
    assert names(environment) == []


def test_a_policy_is_changed_and_keeps_its_name(environment: Environment, client: Client) -> None:
    account = make_account(environment.project, "loader")
    policy(environment, "loaders", principals=[f"service_account:{account.public_id}"], row_filter="carrier = 'UA'")
    page = text(client.get(f"{HERE}loaders/change/"))
    assert "service_account:loader" in page
    assert "carrier = &#x27;UA&#x27;" in page
    sent = values(principals="service_account:loader", rows="", attributes="", expires_at="2099-06-30T12:00")
    del sent["name"]
    client.post(f"{HERE}loaders/change/", sent | {"name": "other"})
    row = AccessPolicy.objects.for_org(environment.org).get()
    assert (row.name, row.row_filter, row.columns) == ("loaders", "", {"tail": "hash"})
    assert row.expires_at is not None
    assert row.expires_at.isoformat() == "2099-06-30T12:00:00+00:00"


def test_policies_are_put_in_order(environment: Environment, client: Client) -> None:
    for number, name in enumerate(("first", "second", "third"), 1):
        policy(environment, name, priority=number * 10)
    page = text(client.post(f"{HERE}third/move/", {"direction": "up"}, follow=True))
    assert "third is number 2 now." in page
    assert names(environment) == ["first", "third", "second"]
    client.post(f"{HERE}first/move/", {"direction": "up"})
    client.post(f"{HERE}second/move/", {"direction": "down"})
    assert names(environment) == ["first", "third", "second"], "the ends stay where they are"
    rows = AccessPolicy.objects.for_org(environment.org).order_by("priority")
    assert [row.priority for row in rows] == [10, 20, 30]
    told = events(environment.org, "policies.policy.reordered")
    assert [(event.before, event.after) for event in told][-1] == ({"priority": 20}, {"priority": 30}) or told[
        -1
    ].related
    with pytest.raises(HeadwaterError, match="the policies on dataset:flights are first, third, second"):
        reorder_policies(actor=SYSTEM, environment=environment, resource="dataset:flights", names=["first"])


def test_what_somebody_sees_is_answered_on_the_page_of_a_dataset(environment: Environment, client: Client) -> None:
    member = make_member(environment.org, "analyst")
    page = text(client.get(f"{HERE}on/dataset/flights/", {"who": member.user.email}))
    assert "is not protected and has no policy: every row is shown" in page
    policy(environment, "long_ones", row_filter="distance > 1000", columns={"tail": "hide"})
    page = text(client.get(f"{HERE}on/dataset/flights/", {"who": member.user.email}))
    assert "the policy long_ones" in page
    assert "tail hidden" in page
    assert "Nobody here is called" in text(client.get(f"{HERE}on/dataset/flights/", {"who": "nobody"}))


def test_a_policy_is_archived(environment: Environment, client: Client) -> None:
    policy(environment, "all")
    assert "all is out of force." in text(client.post(f"{HERE}all/archive/", {"reason": "over"}, follow=True))
    assert names(environment) == []
    assert client.get(f"{HERE}all/change/").status_code == 404
    assert client.get(f"{HERE}on/dataset/nothing/").status_code == 404
    assert client.get(f"{HERE}on/model/flights/").status_code == 404


def test_whoever_reads_policies_only_changes_none(environment: Environment, client: Client) -> None:
    policy(environment, "all")
    create_role(actor=SYSTEM, org=environment.org, name="auditor", permissions=["policy.read"])
    reader = signed_in(make_member(environment.org, "auditor").user)
    assert reader.get(HERE).status_code == 200
    assert "New policy" not in text(reader.get(HERE))
    assert reader.post(f"{HERE}all/archive/", {"reason": "mine"}).status_code == 403
    assert names(environment) == ["all"]


def test_markup_in_a_purpose_stays_text(environment: Environment, client: Client) -> None:
    policy(environment, "all", purpose="<script>alert(1)</script>")
    for page in (HERE, f"{HERE}on/dataset/flights/", f"{HERE}all/change/"):
        assert "<script>alert" not in text(client.get(page))


def test_the_api_orders_and_previews_policies(environment: Environment, client: Client) -> None:
    api = with_session(environment)
    member = make_member(environment.org, "analyst")
    for number, name in enumerate(("first", "second"), 1):
        policy(environment, name, priority=number * 10)
    order = {"resource": "dataset:flights", "policies": ["second", "first"], "reason": "narrower first"}
    answer = api.post(f"{API.removesuffix('policies')}policy-order", order)
    assert [(item["name"], item["priority"]) for item in answer.body["items"]] == [("second", 10), ("first", 20)]
    assert api.post(f"{API.removesuffix('policies')}policy-order", order | {"policies": ["second"]}).status == 409
    draft = {"dataset": "flights", "priority": 5, "principals": ["everyone"], "rows": "distance > 9", "purpose": "try"}
    seen = api.post(f"{API}/third/preview", {"who": member.user.email, "policy": draft})
    assert (seen.status, seen.body["shows"], seen.body["policy"]) == (200, "some", "third")
    wrong = api.post(f"{API}/third/preview", {"who": member.user.email, "policy": draft | {"rows": "nothing > 9"}})
    assert (wrong.status, wrong.body["code"]) == (422, "policy_invalid")
    assert names(environment) == ["second", "first"]
    stranger = with_key(environment, "producer")
    assert stranger.post(f"{API}/third/preview", {"who": "loader", "policy": draft}).status == 403


def test_staff_write_policies_as_files_have_them(environment: Environment, client: Client, owner: Actor) -> None:
    change_staff(actor=SYSTEM, user=owner.subject, is_staff=True)
    account = make_account(environment.project, "loader")
    new = reverse("admin:policies_accesspolicy_create")
    asked = {"environment": environment.pk, "name": "loaders", "reason": "asked for"}
    wrong = client.post(new, asked | {"text": "dataset: flights\npriority: high\n"})
    assert "policies/loaders.yaml, priority" in text(wrong)
    written = "dataset: flights\npriority: 10\nprincipals: [service_account:loader]\npurpose: Theirs\n"
    assert "loaders is in force" in text(client.post(new, asked | {"text": written}, follow=True))
    row = AccessPolicy.objects.for_org(environment.org).get()
    assert row.principals == [f"service_account:{account.public_id}"]
    change = reverse("admin:policies_accesspolicy_rewrite", args=[row.pk])
    page = text(client.get(change))
    assert "- service_account:loader" in page
    client.post(change, {"text": written + "rows: distance > 9\n", "reason": "less"})
    row.refresh_from_db()
    assert row.row_filter == "distance > 9"
    assert "rows: distance &gt; 9" in text(client.get(change))
