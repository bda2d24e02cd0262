"""What people do in the console: actions run and are audited, refusals say why, secrets are shown once."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from typing import Any

import pytest
from django.test import Client
from tests.builders.console import signed_in, stock
from tests.builders.control import events, make_environment, make_member, make_user
from tests.builders.registry import make_version
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.access.models import ApiKey, Grant, ServiceAccount
from headwater.control.access.secrets import digest
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.actions import create_dataset
from headwater.control.console.pages import audit
from headwater.control.console.snippets import ingest_snippets
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment, Membership
from headwater.control.registry.models import Model

__all__ = ["no_services", "services"]

HERE, WHOLE = "/o/acme/air/dev/", "/o/acme/-/"
SHALOM = "\u05e9\u05dc\u05d5\u05dd"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def client(environment: Environment, owner: Actor) -> Client:
    """The browser of the owner."""
    return signed_in(owner.subject)


def post(client: Client, url: str, **values: Any) -> str:
    reply = client.post(url, values, follow=True)
    assert reply.status_code == 200, f"{url}: {reply.status_code}"
    return reply.content.decode()


def get(client: Client, url: str) -> str:
    reply = client.get(url)
    assert reply.status_code == 200, f"{url}: {reply.status_code}"
    return (reply.getvalue() if reply.streaming else reply.content).decode()


def test_a_key_is_shown_once_and_works_for_its_new_account(environment: Environment, client: Client) -> None:
    url = HERE + "keys/new/"
    values = {"name": "laptop", "principal": "new", "role": "producer", "lifetime": "7", "scopes": ["dataset.ingest"]}
    assert "Name the service account" in post(client, url, **values)
    assert not ApiKey.unscoped.exists()
    page = post(client, url, **values, account_name="loader")
    secret = re.search(r"hw_[a-z2-7]{8}_[a-z2-7]{52}", page)
    assert secret is not None
    key = ApiKey.unscoped.get()
    assert key.secret_sha256 == digest(secret[0])
    assert key.scopes == ["dataset.ingest"]
    assert [given.role.name for given in Grant.unscoped.filter(service_account=key.service_account)] == ["producer"]
    assert secret[0] not in get(client, HERE + "keys/")
    assert [event.action for event in events(environment.org)][-3:] == [
        "access.service_account.created", "access.grant.created", "access.key.created",
    ]  # fmt: skip


def test_an_account_is_not_made_when_its_key_is_refused(environment: Environment) -> None:
    from headwater.control.access.actions import grant
    from headwater.control.access.queries import get_role
    from headwater.control.access.roles import create_role

    member = make_member(environment.org, "analyst")
    create_role(actor=SYSTEM, org=environment.org, name="keeper", permissions=["key.write", "key.read", "member.write"])
    grant(actor=SYSTEM, scope=environment.org, role=get_role("keeper", environment.org), membership=member)
    page = post(
        signed_in(member.user), HERE + "keys/new/", name="more", principal="new", account_name="climber", role="owner",
        lifetime="7",
    )  # fmt: skip
    assert "cannot give or take what they do not hold" in page
    assert not ServiceAccount.unscoped.filter(name="climber").exists()
    assert not ApiKey.unscoped.exists()


def test_a_key_is_rotated_with_an_overlap_and_revoked(environment: Environment, client: Client, owner: Actor) -> None:
    (old,) = stock(environment, owner)["key-rotate"]
    page = post(client, f"{HERE}keys/{old}/rotate/", overlap="24", reason="yearly")
    assert re.search(r"hw_[a-z2-7]{8}_[a-z2-7]{52}", page)
    assert ApiKey.unscoped.count() == 2
    assert "opens nothing any more" in post(client, f"{HERE}keys/{old}/revoke/", reason="leaked")
    assert events(environment.org, "access.key.revoked")[0].reason == "leaked"


def test_what_an_action_refuses_is_said_and_nothing_changes(environment: Environment, client: Client) -> None:
    member = Membership.unscoped.get()
    page = post(client, f"{WHOLE}team/members/{member.public_id}/suspend/", reason="gone")
    assert "owner" in page
    member.refresh_from_db()
    assert member.status == "active"
    assert "Reason: This field is required" in post(client, f"{WHOLE}team/members/{member.public_id}/suspend/")


def test_a_quarantine_group_is_replayed_from_its_page(
    environment: Environment, client: Client, owner: Actor, services: FakeServices
) -> None:
    stock(environment, owner)
    services.fill()
    page = get(client, HERE + "datasets/flights/quality/")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    told = post(client, HERE + "datasets/flights/quality/replay/", fingerprint="0f" * 8, reason="mended")
    assert "The group was replayed: 4 received, 4 accepted" in told
    assert services.verdicts[0]["verdict"] == "replay"
    reader = signed_in(make_member(environment.org, "consumer").user)
    assert "alert(1)" not in get(reader, HERE + "datasets/flights/quality/")


def test_sample_rows_are_asked_for_as_the_reader(
    environment: Environment, owner: Actor, services: FakeServices
) -> None:
    stock(environment, owner)
    columns = [{"name": "carrier", "type": "VARCHAR"}, {"name": "delay", "type": "DOUBLE"}]
    services.view = {
        "meta": {"columns": columns, "row_count": 1, "policy": {"flights": "own carriers"},
                 "masked_columns": {"flights": {"delay": "null"}}},
        "data": [{"carrier": EVIL, "delay": None}],
    }  # fmt: skip
    reader = make_member(environment.org, "consumer").user
    page = get(signed_in(reader), HERE + "datasets/flights/rows/")
    assert EVIL not in page
    assert "own carriers" in page
    assert "delay (null)" in page
    asked = services.viewings[0]
    assert asked["path"] == "datasets/flights/rows"
    assert asked["viewer"]["principal_id"] == reader.public_id
    assert "dataset.read:*" in asked["viewer"]["allowances"]
    assert "sql.run:*" not in asked["viewer"]["allowances"]
    get(signed_in(owner.subject), HERE + "endpoints/worst/?try=1&p-carrier=UA")
    assert services.viewings[1]["path"] == "endpoints/worst"
    assert services.viewings[1]["parameters"] == {"carrier": "UA"}


def test_columns_lead_to_what_they_are_made_of_and_back(
    environment: Environment, owner: Actor, services: FakeServices
) -> None:
    stock(environment, owner)
    services.fill()
    page = get(signed_in(owner.subject), HERE + "endpoints/worst/")
    assert "inferred from its SQL" in page
    assert "flights.delay" in page
    assert "worst.worst comes from it" in " ".join(get(signed_in(owner.subject), HERE + "datasets/flights/").split())


def test_home_counts_the_last_hour_of_what_the_reader_may_see(
    environment: Environment, client: Client, owner: Actor, services: FakeServices
) -> None:
    stock(environment, owner)
    services.fill()
    minute = int(time.time()) // 60
    counts = {"received": 1_234, "quarantined": 7}
    services.ledger = [
        {"dataset": "flights", "minute": minute, "counts": counts},
        {"dataset": "elsewhere", "minute": minute - 600, "counts": counts},
    ]
    page = get(client, HERE)
    assert "1,234" in page
    assert "Rows in the last hour" in page
    producer = signed_in(make_member(environment.org, "producer").user)
    assert "1,234" not in get(producer, HERE)


def test_text_of_people_is_shown_as_text(environment: Environment, client: Client, no_services: None) -> None:
    create_dataset(
        actor=SYSTEM, project=environment.project, name="odd", description=f"{EVIL} \u202e{SHALOM}👩\u200d🔬"
    )
    post(client, WHOLE + "settings/", name=f'"><script>{EVIL}')
    for url in (HERE + "datasets/", HERE + "datasets/odd/", WHOLE + "audit/", WHOLE + "audit/?q=%3Cscript%3E", HERE):
        page = get(client, url)
        assert EVIL not in page
        assert "<script>" not in page
    assert f"{SHALOM}👩\u200d🔬" in get(client, HERE + "datasets/odd/")


def test_a_search_of_the_audit_log_goes_back_window_by_window(
    environment: Environment, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "SEARCHED", 3)
    count = AuditEvent.objects.filter(org_id=environment.org.pk).count()
    seen: list[str] = []
    url = WHOLE + "audit/?q=environment"
    for _ in range(count):
        page = get(client, url)
        seen += re.findall(r">(orgs\.environment\.created)</a>", page)
        following = re.search(r'href="(\?[^"]*)" rel="next"', page)
        if following is None:
            break
        url = WHOLE + "audit/" + following[1].replace("&amp;", "&")
    assert seen == ["orgs.environment.created"]
    assert client.get(WHOLE + "audit/?after=x").status_code == 404


def test_the_audit_log_is_taken_away_as_searched_and_without_formulas(environment: Environment, client: Client) -> None:
    post(client, WHOLE + "settings/", name="=HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO(get(client, WHOLE + "audit/export.csv"))))
    assert [int(row["n"]) for row in rows] == sorted((event.n for event in events(environment.org)), reverse=True)
    assert rows[0]["action"] == "orgs.organization.renamed"
    assert not any(value.startswith("=") for row in rows for value in row.values())
    lines = get(client, WHOLE + "audit/export.ndjson?action=orgs.organization").splitlines()
    assert {json.loads(line)["action"] for line in lines} == {"orgs.organization.created", "orgs.organization.renamed"}
    assert client.get(WHOLE + "audit/export.exe").status_code == 404


@pytest.mark.parametrize(("page", "stretch"), [(2, 3), (3, 3), (1, 50), (50, 4)])
def test_an_export_is_whole_however_it_is_read(
    environment: Environment, client: Client, monkeypatch: pytest.MonkeyPatch, page: int, stretch: int
) -> None:
    monkeypatch.setattr(audit, "EXPORT_PAGE", page)
    monkeypatch.setattr(audit, "SEARCHED", stretch)
    lines = get(client, WHOLE + "audit/export.ndjson").splitlines()
    wanted = sorted((event.n for event in events(environment.org)), reverse=True)
    assert [json.loads(line)["n"] for line in lines] == wanted
    only = get(client, WHOLE + "audit/export.ndjson?action=orgs.environment").splitlines()
    assert [json.loads(line)["action"] for line in only] == ["orgs.environment.created"]


def test_pages_of_a_long_list_neither_skip_nor_repeat(
    environment: Environment, client: Client, no_services: None
) -> None:
    names = [f"d{number:03}" for number in range(120)]
    for name in names:
        create_dataset(actor=SYSTEM, project=environment.project, name=name)
    seen: list[str] = []
    url = HERE + "datasets/?q=d"
    while url:
        page = get(client, url)
        seen += re.findall(r"datasets/(d\d{3})/", page)
        following = re.search(r'href="(\?[^"]*)" rel="next"', page)
        url = HERE + "datasets/" + following[1].replace("&amp;", "&") if following else ""
    assert seen == names
    for forged in ("x", "e30", "WzFd", "WyJhIiwiYiJd"):
        assert client.get(f"{HERE}datasets/?after={forged}").status_code == 404


def test_access_is_explained_to_those_who_may_know(environment: Environment, client: Client, owner: Actor) -> None:
    stock(environment, owner)
    question = "?permission=dataset.read&resource=dataset:flights&environment=air/dev&who="
    assert "Yes" in get(client, f"{WHOLE}team/explain/{question}{owner.label}")
    assert "Nobody here is called" in get(client, f"{WHOLE}team/explain/{question}nobody@example.com")
    analyst = make_member(environment.org, "analyst").user
    assert "Yes" in get(signed_in(analyst), f"{WHOLE}team/explain/{question}{analyst.email}")
    assert "lacks member.read" in get(signed_in(analyst), f"{WHOLE}team/explain/{question}{owner.label}")


def test_an_invitation_without_mail_waits_and_says_so(
    environment: Environment, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.control.identity import invitations
    from headwater.core.errors import HeadwaterError

    def fail(*_: object) -> None:
        raise HeadwaterError("mail_unavailable", "the mail server does not answer")

    monkeypatch.setattr(invitations, "send", fail)
    page = post(client, WHOLE + "team/invite/", email="New@Example.com", role="analyst")
    assert "new@example.com is invited, but the mail could not be sent" in page


def test_a_snippet_survives_a_shell_whatever_the_row_holds() -> None:
    curl, python, typescript = ingest_snippets("flights", {"name": 'O\'Hare "ORD"', "ok": True, "none": None})
    assert "'\\''" in curl.code
    compile(python.code, "snippet", "exec")
    assert "JSON.stringify" in typescript.code


def test_a_group_is_made_filled_and_emptied(environment: Environment, client: Client) -> None:
    member = make_member(environment.org, "analyst", make_user("one@example.com"))
    post(client, WHOLE + "team/groups/new/", name="night", description="Who works at night")
    page = get(client, WHOLE + "team/groups/")
    group = re.search(r"groups/(gro_\w+)/", page)
    assert group is not None
    assert "They are in night now" in post(
        client, f"{WHOLE}team/groups/{group[1]}/add/", principal=member.public_id, reason=""
    )
    place = re.search(r"places/(gm_\w+)/remove/", get(client, f"{WHOLE}team/groups/{group[1]}/"))
    assert place is not None
    assert "no longer" in post(client, f"{WHOLE}team/groups/places/{place[1]}/remove/", reason="asleep")


def test_principals_of_another_organisation_cannot_be_chosen(environment: Environment, client: Client) -> None:
    other = make_member(make_environment("other").org, "analyst")
    page = post(
        client, WHOLE + "team/grants/new/", principal=other.public_id, role="owner", scope=environment.org.public_id,
        lifetime="0",
    )  # fmt: skip
    assert "is not one of the available choices" in page
    assert not Grant.unscoped.filter(membership=other, role__name="owner").exists()


def test_a_promotion_is_taken_back_from_the_models_page(environment: Environment, client: Client, owner: Actor) -> None:
    stock(environment, owner)
    page = HERE + "models/delay/"
    assert 'id="rollback"' not in get(client, page)
    assert "No version was champion" in post(client, page + "rollback/", reason="for nothing")
    make_version(Model.objects.for_org(environment.org).get(), "b", owner)
    assert "delay v2 answers in dev now" in post(client, page + "versions/2/promote/", reason="better")
    assert "A rollback leads to version 1." in get(client, page)
    assert "Version 1 of delay answers in dev again." in post(client, page + "rollback/", reason="worse")
    (event,) = events(environment.org, "registry.version.rolled_back")
    assert event.reason == "worse"
