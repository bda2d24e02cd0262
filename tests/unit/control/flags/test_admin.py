"""Flags in the admin: shown with what environments say, tried out, switched and archived by actions."""

from __future__ import annotations

from datetime import date

import pytest
from django.test import Client
from django.urls import reverse
from tests.builders.control import events, make_user, newest_snapshot

from headwater.control.flags.actions import change_config, config_of, create_flag
from headwater.control.flags.models import Flag
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def operator(environment: Environment) -> Client:
    client = Client()
    client.force_login(make_user("root@example.com", is_admin=True))
    return client


@pytest.fixture
def flag(environment: Environment, owner: Actor) -> Flag:
    made = create_flag(
        actor=owner, project=environment.project, key="greeting",
        content={
            "type": "string", "variants": {"a": EVIL, "b": "hello"}, "off_variant": "b", "kind": "release",
            "owner": EVIL, "remove_by": date(2027, 1, 1), "description": EVIL,
        },
    )  # fmt: skip
    rules = [{"when": "country = 'DE'", "variant": "a", "description": EVIL}]
    change_config(actor=owner, config=config_of(made, environment), changes={"rules": rules, "enabled": True})
    return made


def test_the_page_shows_what_environments_say_escaped(operator: Client, flag: Flag) -> None:
    assert "greeting" in operator.get(reverse("admin:flags_flag_changelist")).content.decode()
    page = operator.get(reverse("admin:flags_flag_change", args=[flag.pk])).content.decode()
    assert "Those where country = &#x27;DE&#x27; gets a." in page
    assert "air/dev" in page
    assert EVIL not in page


def test_a_context_is_tried_out(operator: Client, flag: Flag, environment: Environment) -> None:
    address = reverse("admin:flags_flag_change", args=[flag.pk])
    asked = {"environment": str(environment.pk), "context": '{"country": "DE"}'}
    page = operator.get(address, asked).content.decode()
    assert "TARGETING_MATCH" in page
    assert "Rule 1: decided" in page
    for bad, words in (
        ("[1]", "Write a JSON object"),
        ("{", "valid JSON"),
        ('{"targetingKey": 3}', "string is needed"),
    ):
        assert words in operator.get(address, asked | {"context": bad}).content.decode()


def test_switching_and_archiving_are_actions(operator: Client, flag: Flag, environment: Environment) -> None:
    address = reverse("admin:flags_flag_toggle", args=[flag.pk, environment.pk])
    assert operator.get(address).status_code == 200
    assert operator.post(address, {"reason": "too loud"}).status_code == 302
    assert not newest_snapshot(environment).flags["greeting"].enabled
    assert events(environment.org, "flags.config.toggled")[0].reason == "too loud"
    address = reverse("admin:flags_flag_archive", args=[flag.pk])
    operator.post(address, {"reason": "done"})
    assert newest_snapshot(environment).flags == {}
    operator.post(address, {})
    assert "greeting" in newest_snapshot(environment).flags


def test_usage_is_listed(operator: Client) -> None:
    assert operator.get(reverse("admin:flags_flagusage_changelist")).status_code == 200
