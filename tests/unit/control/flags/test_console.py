"""The console's pages about flags: read, tried out, changed in two steps, and closed to those who may not."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from django.test import Client
from tests.builders.control import make_environment, make_member, make_owner, newest_snapshot

from headwater.control.flags.actions import change_config, config_of, create_flag
from headwater.control.flags.models import Flag
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.actions import create_environment
from headwater.control.orgs.models import Environment

HERE = "/o/acme/air/dev/"
FLAG = f"{HERE}flags/new-home/"
RULES = [{"when": "country = 'DE'", "variant": "on", "share_bps": 2_500, "description": "Neighbours <b>first</b>"}]


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def flag(environment: Environment, owner: Actor) -> Flag:
    made = create_flag(
        actor=owner, project=environment.project, key="new-home",
        content={
            "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "kind": "release",
            "owner": "web <team>", "remove_by": date(2020, 1, 1), "description": "The <i>new</i> home",
        },
    )  # fmt: skip
    changes = {"enabled": True, "rules": RULES}
    change_config(actor=owner, config=config_of(made, environment), changes=changes, reason="first try")
    return made


@pytest.fixture
def client(owner: Actor) -> Client:
    return signed_in(owner.subject)


def text_of(client: Client, path: str) -> str:
    reply = client.get(path, follow=True)
    assert reply.status_code == 200, path
    return reply.content.decode()


def hidden(page: str, name: str) -> str:
    """Return the value of a hidden input."""
    tag = next(tag for tag in re.findall(r"<input[^>]*>", page) if f'name="{name}"' in tag)
    found = re.search(r'value="([^"]*)"', tag)
    return found[1] if found else ""


def test_the_list_shows_state_here_and_escapes_what_people_wrote(client: Client, flag: Flag) -> None:
    page = text_of(client, f"{HERE}flags/")
    assert flag.key in page
    assert "enabled" in page
    assert "web &lt;team&gt;" in page
    assert "<i>new</i>" not in page
    assert "No flag is called" in text_of(client, f"{HERE}flags/?q=nothing")
    assert "No flag is archived" in text_of(client, f"{HERE}flags/?archived=1")


def test_an_empty_list_teaches(client: Client) -> None:
    assert "No flags yet" in text_of(client, f"{HERE}flags/")


def test_a_flags_page_says_its_rules_in_words_with_their_history(client: Client, flag: Flag) -> None:
    page = text_of(client, FLAG)
    assert "25% of those where country = &#x27;DE&#x27; gets on." in page
    assert "Neighbours &lt;b&gt;first&lt;/b&gt;" in page
    assert "Otherwise everybody gets <strong>off</strong>" in page
    assert "flags.config.changed" in page
    assert "first try" in page
    assert "get_boolean_value(&quot;new-home&quot;" in page
    assert client.get(f"{HERE}flags/nope/").status_code == 404


def test_trying_out_says_which_rule_decides(client: Client, flag: Flag) -> None:
    page = text_of(client, f'{FLAG}try/?context={{"country": "FR", "targetingKey": "u1"}}')
    assert "The default</strong> decides" in page
    assert "does not hold" in page
    assert "TARGETING_KEY_MISSING" in text_of(client, f'{FLAG}try/?context={{"country": "DE"}}')
    assert "not JSON" in text_of(client, f"{FLAG}try/?context={{")
    assert "JSON object" in text_of(client, f"{FLAG}try/?context=[]")
    assert "The default</strong> decides" in text_of(
        client, f"{FLAG}?context=%7B%7D".replace("%7B%7D", '{"country":"FR"}')
    )


def test_switching_asks_for_a_reason_where_that_is_needed(client: Client, flag: Flag, environment: Environment) -> None:
    reply = client.post(f"{FLAG}toggle/", {"enabled": "0", "reason": "too loud"}, follow=True)
    assert "new-home is off in dev." in reply.content.decode()
    assert not newest_snapshot(environment).flags["new-home"].enabled
    create_environment(actor=SYSTEM, project=environment.project, key="prod", protected=True)
    reply = client.post("/o/acme/air/prod/flags/new-home/toggle/", {"enabled": "1"}, follow=True)
    assert "prod is protected" in reply.content.decode().lower()


def test_editing_shows_what_changes_before_it_is_saved(client: Client, flag: Flag, environment: Environment) -> None:
    page = text_of(client, f"{FLAG}edit/")
    text = "default: 'on'\nrules: []\n"
    sent = {"text": text, "reason": "everybody", "revision": hidden(page, "revision")}
    shown = client.post(f"{FLAG}edit/", sent).content.decode()
    assert "Default: off → on" in shown
    assert "Rule 1 removed" in shown
    assert newest_snapshot(environment).flags["new-home"].default_variant == "off"
    saved = client.post(f"{FLAG}edit/", sent | {"seen": hidden(shown, "seen")}, follow=True).content.decode()
    assert "is changed" in saved
    assert newest_snapshot(environment).flags["new-home"].default_variant == "on"
    again = client.post(f"{FLAG}edit/", sent | {"text": "default: 'off'\n", "seen": ""}).content.decode()
    late = client.post(f"{FLAG}edit/", sent | {"text": "default: 'off'\n", "seen": hidden(again, "seen")})
    assert "changed by somebody else meanwhile" in late.content.decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [", "YAML"),
        ("default: blue", "there is no variant"),
        ("rules: [{when: 'x =', variant: 'on'}]", "Character"),
        ("enabled: true", "the switch is not among them"),
        ("rules:\n  - {share: 300%, variant: 'on'}", "line 2"),
    ],
)
def test_rules_that_make_no_sense_are_shown_again_with_what_is_wrong(
    client: Client, flag: Flag, text: str, words: str
) -> None:
    page = text_of(client, f"{FLAG}edit/")
    reply = client.post(f"{FLAG}edit/", {"text": text, "revision": hidden(page, "revision")}).content.decode()
    assert words.lower() in reply.lower()
    assert "Show what changes" in reply


def test_a_flag_is_made_and_archived_by_hand(client: Client, environment: Environment) -> None:
    form = {
        "key": "late-after", "type": "integer", "variants": '{"strict": 15, "relaxed": 30}', "off_variant": "relaxed",
        "kind": "ops", "owner": "ops", "remove_by": "2027-01-01",
    }  # fmt: skip
    refused = client.post(f"{HERE}flags-new/", form | {"off_variant": "x"}).content.decode()
    assert "there is no variant" in refused
    made = client.post(f"{HERE}flags-new/", form, follow=True)
    assert made.redirect_chain == [(f"{HERE}flags/late-after/", 302)]
    assert "late-after exists and is off everywhere." in made.content.decode()
    path = f"{HERE}flags/late-after/archive/"
    assert "is archived" in client.post(path, {"reason": "done"}, follow=True).content.decode()
    assert newest_snapshot(environment).flags == {}
    assert "is served again" in client.post(path, {"reason": ""}, follow=True).content.decode()


def test_a_flag_says_by_when_it_goes_unless_it_is_permanent(client: Client, environment: Environment) -> None:
    fields = {"key": "limit", "type": "boolean", "variants": '{"on": true, "off": false}', "off_variant": "off"}
    asked = text_of(client, f"{HERE}flags-new/")
    assert re.search(r'<label for="id_remove_by">Remove by</label>', asked)
    refused = client.post(f"{HERE}flags-new/", fields | {"kind": "release", "owner": "ops"}).content.decode()
    assert "Say by when it is removed" in refused.split('id="id_remove_by"')[1]
    assert not Flag.objects.for_org(environment.org).exists()
    client.post(f"{HERE}flags-new/", fields | {"kind": "permanent", "owner": "ops"})
    assert Flag.objects.for_org(environment.org).get().remove_by is None


def test_stale_flags_are_listed_with_the_reason(client: Client, flag: Flag) -> None:
    page = text_of(client, f"{HERE}flags-stale/")
    assert flag.key in page
    assert "It was to be removed by 2020-01-01." in page


def test_an_analyst_reads_and_cannot_change(environment: Environment, flag: Flag) -> None:
    analyst = signed_in(make_member(environment.org, "analyst").user)
    page = text_of(analyst, FLAG)
    assert "Edit rules" not in page
    assert analyst.post(f"{FLAG}toggle/", {"enabled": "0"}).status_code == 403
    assert analyst.get(f"{FLAG}edit/").status_code == 403
    assert newest_snapshot(environment).flags["new-home"].enabled


def test_flags_of_another_organisation_do_not_exist(flag: Flag) -> None:
    stranger = signed_in(make_owner(make_environment("globex").org).subject)
    for path in (f"{HERE}flags/", FLAG, f"{FLAG}edit/", f"{FLAG}try/"):
        assert stranger.get(path).status_code == 404
    assert stranger.post(f"{FLAG}toggle/", {"enabled": "0"}).status_code == 404
    assert stranger.get(f"/o/globex/air/dev/flags/{flag.key}/").status_code == 404
