"""Keys with networks, attributes, other permissions and an end; service accounts switched off and on; new names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from tests.builders.console import signed_in
from tests.builders.control import events, make_account, make_key, make_member, newest_snapshot

from headwater.control.access.models import ApiKey
from headwater.control.access.roles import create_role
from headwater.control.console.attributes import read_attributes
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment

KEYS = "/o/acme/air/dev/keys/"


@pytest.fixture
def client(environment: Environment, owner: Actor) -> Client:
    return signed_in(owner.subject)


def values(**more: Any) -> dict[str, Any]:
    return {
        "name": "loader", "principal": "new", "account_name": "loader", "role": "producer", "lifetime": "90",
    } | more  # fmt: skip


def test_a_key_is_made_with_networks_attributes_other_permissions_and_an_end(
    environment: Environment, client: Client
) -> None:
    day = datetime.now(UTC).date() + timedelta(days=40)
    sent = values(
        scopes=["dataset.read"], more_scopes="dataset.ingest:flights\nsql.run", networks="10.1.0.0/16\n192.0.2.7",
        attributes="carriers: UA, DL\nregion: north\nlevel: 3", expires_on=day.isoformat(),
    )  # fmt: skip
    page = client.post(f"{KEYS}new/", sent).content.decode()
    assert "This is the only time the key is shown" in page
    key = ApiKey.objects.for_org(environment.org).get()
    assert key.scopes == ["dataset.ingest:flights", "dataset.read", "sql.run"]
    assert key.cidrs == ["10.1.0.0/16", "192.0.2.7"]
    assert key.attributes == {"carriers": ["UA", "DL"], "region": "north", "level": 3}
    assert key.expires_at == datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
    spec = newest_snapshot(environment).keys[key.secret_sha256]
    assert (spec.cidrs, spec.attributes["region"]) == (("10.1.0.0/16", "192.0.2.7"), "north")
    assert "from 10.1.0.0/16, 192.0.2.7 only" in client.get(KEYS).content.decode()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"networks": "10.1.0.0/99"}, "10.1.0.0/99"),
        ({"attributes": "carriers"}, "Write a name, a colon and a value"),
        ({"attributes": "Carriers: UA"}, "cannot name an attribute"),
        ({"more_scopes": "dataset.fly"}, "not permissions: dataset.fly"),
        ({"expires_on": "2020-01-01"}, "expires in the future"),
        ({"expires_on": "2099-01-01"}, "within three years"),
    ],
)
def test_what_is_wrong_with_a_key_makes_neither_key_nor_account(
    environment: Environment, client: Client, wrong: dict[str, str], told: str
) -> None:
    assert told in client.post(f"{KEYS}new/", values(**wrong)).content.decode()
    assert not ApiKey.objects.for_org(environment.org).exists()
    assert events(environment.org, "access.service_account.created") == []


def test_attributes_take_the_right_to_write_policies(environment: Environment) -> None:
    permissions = ["key.read", "key.write", "member.write", "dataset.ingest"]
    create_role(actor=SYSTEM, org=environment.org, name="keeper", permissions=permissions)
    keeper = signed_in(make_member(environment.org, "keeper").user)
    page = keeper.post(f"{KEYS}new/", values(attributes="region: north")).content.decode()
    assert "policy.write" in page
    assert "This is the only time" in keeper.post(f"{KEYS}new/", values()).content.decode()


def test_attributes_are_read_line_by_line() -> None:
    text = 'carriers: UA, DL\n\nonly: ["UA"]\nname: "1, 2"\nurl: a:b\non: true\n'
    assert read_attributes(text) == {
        "carriers": ["UA", "DL"], "only": ["UA"], "name": "1, 2", "url": "a:b", "on": True,
    }  # fmt: skip
    for wrong in ("carriers", ": UA", "carriers:", "a: 1\na: 2"):
        with pytest.raises(ValidationError):
            read_attributes(wrong)


def test_a_service_account_is_switched_off_and_on(environment: Environment, client: Client) -> None:
    account = make_account(environment.project, "loader")
    key, _ = make_key(environment, account)
    page = client.get(f"{KEYS}accounts/").content.decode()
    assert "producer on air" in page
    client.post(f"{KEYS}accounts/{account.public_id}/disable/", {"reason": "leaked?"})
    assert "disabled" in client.get(f"{KEYS}accounts/").content.decode()
    assert not newest_snapshot(environment).keys[key.secret_sha256].allowances
    page = client.post(f"{KEYS}accounts/{account.public_id}/enable/", {"reason": "no"}, follow=True).content.decode()
    assert "loader is enabled." in page
    assert newest_snapshot(environment).keys[key.secret_sha256].allowances
    assert client.post(f"{KEYS}accounts/{account.public_id}/explode/").status_code == 404


def test_a_project_is_renamed_from_the_settings(environment: Environment, client: Client) -> None:
    project = environment.project
    address = f"/o/acme/-/settings/projects/{project.public_id}/rename/"
    page = client.post(address, {"name": "Air & sea"}, follow=True).content.decode()
    assert "The project is called Air &amp; sea now" in page
    project.refresh_from_db()
    assert (project.name, project.slug) == ("Air & sea", "air")
