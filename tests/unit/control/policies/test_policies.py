"""Policies as files and over the API: held against columns, planned with a diff, published, not outgrown."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders.control import make_account, make_environment, make_member, newest_snapshot
from tests.builders.http import with_session
from tests.builders.policies import declare_dataset, flights_contract, policy

from headwater.control.access.groups import create_group
from headwater.control.catalog.actions import activate_contract, draft_contract
from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.models import Dataset
from headwater.control.catalog.payload import ResourceFile, Resources
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import archive_policy
from headwater.core.errors import HeadwaterError

PARTNERS = """
dataset: flights
priority: 10
principals: [group:partners, service_account:loader]
rows: carrier in (caller.carriers) and distance > 0
attributes: {carriers: strings}
columns: {tail: hash}
purpose: Partners see their own flights
expires: 2030-01-01T00:00:00Z
"""


@pytest.fixture
def place(environment: Environment) -> Environment:
    declare_dataset(environment)
    create_group(actor=SYSTEM, org=environment.org, name="partners")
    make_account(environment.project, "loader")
    return environment


def files(**texts: str) -> Resources:
    return Resources(
        policies=tuple(ResourceFile(source=f"policies/{name}.yaml", text=text) for name, text in texts.items())
    )


def faults(environment: Environment, **texts: str) -> list[tuple[str, str]]:
    with pytest.raises(HeadwaterError) as caught:
        plan_project(actor=SYSTEM, environment=environment, resources=files(**texts))
    assert caught.value.code == "project_invalid"
    return [(error["path"], error["message"]) for error in caught.value.extra["errors"]]


def test_a_policy_is_created_changed_with_a_diff_and_then_unchanged(place: Environment) -> None:
    first = apply_project(actor=SYSTEM, environment=place, resources=files(partners=PARTNERS))
    assert [(change.kind, change.action) for change in first.changes if change.kind == "policy"] == [
        ("policy", "create")
    ]
    again = apply_project(actor=SYSTEM, environment=place, resources=files(partners=PARTNERS))
    assert [change.action for change in again.changes if change.kind == "policy"] == ["unchanged"]
    wider = PARTNERS.replace(" and distance > 0", "").replace("[group:partners, ", "[everyone, ")
    changed = plan_project(actor=SYSTEM, environment=place, resources=files(partners=wider))
    (change,) = [change for change in changed.changes if change.kind == "policy"]
    assert change.action == "update"
    assert any("distance > 0 → " in detail for detail in change.details)
    assert any("service_account:loader" in detail and "everyone" in detail for detail in change.details)


def test_what_is_applied_is_in_the_snapshot_and_closes_the_dataset(place: Environment) -> None:
    assert not newest_snapshot(place).datasets["flights"].protected
    apply_project(actor=SYSTEM, environment=place, resources=files(partners=PARTNERS))
    snapshot = newest_snapshot(place)
    assert snapshot.policies["partners"].columns == {"tail": "hash"}
    assert any(one.startswith("service_account:sa_") for one in snapshot.policies["partners"].principals)
    assert snapshot.datasets["flights"].protected, "services that know no policies show nothing"
    assert len(snapshot.environment.mask_key) == 32


@pytest.mark.parametrize(
    ("old", "new", "path", "word"),
    [
        ("carrier in", "carier in", "rows", "carier"),
        ("distance > 0", "distance > 'x'", "rows", "number"),
        ("distance > 0", "distance", "rows", "boolean"),
        (" and distance > 0", " and null", "rows", ""),
        ("caller.carriers", "caller.secrets", "rows", "declare it"),
        ("{carriers: strings}", "{carriers: strings, more: string}", "attributes.more", "does not use"),
        ("{tail: hash}", "{wing: hash}", "columns.wing", "no column"),
        ("{tail: hash}", "{id: last4}", "columns.id", "end of a text"),
        ("{tail: hash}", "{tail: blur}", "columns.tail", "hide"),
        ("group:partners", "group:strangers", "principals", "partners"),
        ("group:partners", "someone", "", "everyone"),
        ("dataset: flights", "dataset: trains", "dataset", "flights"),
        ("purpose: Partners see their own flights\n", "", "purpose", "required"),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00", "expires", "timezone"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(place: Environment, old: str, new: str, path: str, word: str) -> None:
    if not word:
        # A condition that no row can meet is typed well; it only shows nothing.
        plan_project(actor=SYSTEM, environment=place, resources=files(partners=PARTNERS.replace(old, new)))
        return
    found = faults(place, partners=PARTNERS.replace(old, new))
    assert any(word in message and path in where for where, message in found), found


def test_two_policies_may_not_have_one_priority_on_a_resource(place: Environment) -> None:
    found = faults(place, one=PARTNERS, two=PARTNERS)
    assert any("priority 10" in message for _, message in found)


def test_a_contract_does_not_outgrow_the_policies_on_its_dataset(place: Environment) -> None:
    policy(place, "masked", columns={"tail": "hide"})
    contract = flights_contract(version="2.0")
    lesser = type(contract)(
        contract.name, "2.0", tuple(field for field in contract.fields if field.name != "tail"), protected=False
    )
    dataset = Dataset.objects.for_org(place.org_id).get(name="flights")
    draft = draft_contract(actor=SYSTEM, dataset=dataset, contract=lesser, source="a test")
    with pytest.raises(HeadwaterError, match="policies on dataset:flights do not fit") as caught:
        activate_contract(actor=SYSTEM, contract=draft, environment=place)
    assert caught.value.extra["errors"][0]["path"] == "columns.tail"


def test_an_archived_policy_frees_its_name_and_priority(place: Environment) -> None:
    archive_policy(actor=SYSTEM, policy=policy(place, "all"))
    assert newest_snapshot(place).policies == {}
    assert policy(place, "all").revision == 1


def test_over_the_api_a_policy_is_put_seen_changed_once_and_archived(place: Environment) -> None:
    api = with_session(place)
    path = f"/organizations/{place.org.slug}/projects/air/environments/dev/policies"
    body: dict[str, Any] = {
        "dataset": "flights", "priority": 5, "principals": ["role:analyst"], "columns": {"tail": "null"},
        "purpose": "x",
    }  # fmt: skip
    made = api("PUT", f"{path}/analysts", body)
    assert (made.status, made.body["principals"]) == (200, ["role:analyst"])
    assert api("PUT", f"{path}/analysts", body | {"priority": 6, "revision": 9}).status == 409
    assert api("PUT", f"{path}/analysts", body | {"priority": 6, "revision": 1}).body["revision"] == 2
    refused = api("PUT", f"{path}/more", body | {"columns": {"wing": "hide"}})
    assert (refused.status, refused.body["code"]) == (422, "policy_invalid")
    assert [item["name"] for item in api.get(path).body["items"]] == ["analysts"]
    assert api.post(f"{path}/analysts/archive").status == 200
    assert api.get(f"{path}/analysts").status == 404
    assert with_session(place, "analyst")("PUT", f"{path}/analysts", body).status == 403


def test_everybody_may_ask_about_themselves_and_readers_of_members_about_others(place: Environment) -> None:
    body = {
        "organization": place.org.slug, "project": "air", "environment": "dev", "permission": "dataset.read",
        "resource": "dataset:flights",
    }  # fmt: skip
    analyst = with_session(place, "analyst")
    mine = analyst.post("/explain", body)
    assert (mine.status, mine.body["allowed"], mine.body["grant"]["role"]) == (200, True, "analyst")
    assert analyst.post("/explain", body | {"principal": "loader"}).status == 403
    answer = with_session(place, "owner").post("/explain", body | {"principal": "loader"})
    assert (answer.status, answer.body["allowed"]) == (200, False)
    stranger = make_member(make_environment("other").org)
    assert with_session(place, "owner").post("/explain", body | {"principal": stranger.user.email}).status == 404
