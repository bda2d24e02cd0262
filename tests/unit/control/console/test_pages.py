"""The console's pages: they open for whom they should, show what they should, and nothing of anybody else's."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from tests.builders.console import addresses, signed_in, stock
from tests.builders.control import make_environment, make_member, make_owner, make_user
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.console.pages import PAGES
from headwater.control.identity.actions import change_staff
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.actions import create_environment, create_organization, suspend_organization
from headwater.control.orgs.models import Environment

__all__ = ["no_services", "services"]

HERE = "/o/acme/air/dev/"
MOST_QUERIES = 25
Arguments = dict[str, tuple[Any, ...]]


@pytest.fixture
def arguments(environment: Environment, owner: Actor) -> Arguments:
    """An environment with one of everything; what the addresses of its pages are made of."""
    return stock(environment, owner)


@pytest.fixture
def client(environment: Environment, owner: Actor) -> Client:
    """The browser of the owner."""
    return signed_in(owner.subject)


def member(environment: Environment, role: str) -> Client:
    return signed_in(make_member(environment.org, role).user)


def text_of(client: Client, url: str) -> str:
    reply = client.get(url, follow=True)
    assert reply.status_code == 200, f"{url}: {reply.status_code}"
    content = reply.getvalue() if reply.streaming else reply.content
    return content.decode()


def test_the_front_door_leads_members_to_where_they_were_last(environment: Environment, no_services: None) -> None:
    client = member(environment, "owner")
    assert client.get("/", follow=True).redirect_chain[-1][0] == HERE
    assert client.cookies["hw_place"].value == "acme/air/dev"
    create_environment(actor=SYSTEM, project=environment.project, key="a")
    assert client.get("/", follow=True).redirect_chain[-1][0] == HERE
    client.get("/o/acme/air/a/")
    assert client.get("/", follow=True).redirect_chain[-1][0] == "/o/acme/air/a/"
    client.cookies["hw_place"] = "other/<b>/;"
    assert client.get("/", follow=True).redirect_chain[-1][0] == "/o/acme/air/a/"


def test_the_front_door_leads_staff_who_belong_nowhere_to_the_admin(environment: Environment) -> None:
    user = make_user()
    assert Client().get("/").headers["Location"].startswith("/accounts/login/")
    assert "No organisation has you as a member yet" in text_of(signed_in(user), "/")
    change_staff(actor=SYSTEM, user=user, is_staff=True)
    assert signed_in(user).get("/").headers["Location"] == reverse("admin:index")


def test_an_organisation_without_a_project_leads_to_its_settings(db: None, environment: Environment) -> None:
    owner = make_owner(create_organization(actor=SYSTEM, slug="young"))
    client = signed_in(owner.subject)
    assert "No project yet" in text_of(client, "/")
    made = client.post(
        "/o/young/-/settings/projects/new/", {"name": "P", "slug": "p", "environment": "dev"}, follow=True
    )
    assert "Apply a project directory to it" in made.content.decode()
    assert "What to do next" in text_of(client, "/")


def test_every_page_opens_with_few_queries(
    environment: Environment, arguments: Arguments, client: Client, services: FakeServices
) -> None:
    services.fill()
    found = addresses(environment, arguments)
    assert len(found) > 25
    for name, url in found.items():
        with CaptureQueriesContext(connection) as queries:
            page = text_of(client, url)
        assert len(queries) <= MOST_QUERIES, f"{name}: {[query['sql'][:120] for query in queries.captured_queries]}"
        assert "{{" not in page


def test_every_page_opens_while_the_services_are_away(
    environment: Environment, arguments: Arguments, client: Client, no_services: None
) -> None:
    for url in addresses(environment, arguments).values():
        text_of(client, url)
    assert "The services do not answer" in text_of(client, HERE)


def test_a_stranger_finds_nothing_of_an_organisation(
    environment: Environment, arguments: Arguments, no_services: None
) -> None:
    stranger = signed_in(make_owner(make_environment("other").org).subject)
    for method, ask in (("GET", stranger.get), ("POST", stranger.post)):
        for name, url in addresses(environment, arguments, method).items():
            assert ask(url).status_code == 404, f"{method} {name}"
    assert stranger.get("/o/acme/").status_code == 404


def test_ids_of_another_organisation_are_not_found_from_ones_own(
    environment: Environment, arguments: Arguments, no_services: None
) -> None:
    other = make_environment("other")
    stranger = signed_in(make_owner(other.org).subject)
    own = ("provider", "factors", "audit-export", "dataset-verdict")
    for method, ask in (("GET", stranger.get), ("POST", stranger.post)):
        for name, url in addresses(other, arguments, method).items():
            if arguments.get(name) and name not in own:
                assert ask(url, {"reason": "mine"}).status_code == 404, f"{method} {name}"


def test_who_lacks_a_permission_is_refused_and_changes_nothing(
    environment: Environment, arguments: Arguments, no_services: None
) -> None:
    producer = member(environment, "producer")
    open_to_members = {page.name for page in PAGES.values() if page.permission is None}
    for method, ask in (("GET", producer.get), ("POST", producer.post)):
        for name, url in addresses(environment, arguments, method).items():
            if name in open_to_members:
                continue
            reply = ask(url, {"reason": "because"})
            assert reply.status_code == 403, f"{method} {name}: {reply.status_code}"
            assert str(PAGES[name].permission) in reply.content.decode()
    page = text_of(producer, HERE)
    assert 'datasets/"' not in page
    assert "audit/" not in page


def test_nobody_who_is_not_signed_in_sees_a_page(environment: Environment, arguments: Arguments) -> None:
    for method in ("GET", "POST"):
        for url in addresses(environment, arguments, method).values():
            reply = getattr(Client(), method.lower())(url)
            assert (reply.status_code, reply.headers["Location"][:16]) == (302, "/accounts/login/")


def test_what_changes_state_is_no_get(environment: Environment, arguments: Arguments, client: Client) -> None:
    for name, url in addresses(environment, arguments, "POST").items():
        if PAGES[name].methods == ("POST",):
            assert client.get(url).status_code == 405


def test_a_form_without_the_token_of_the_site_is_refused(environment: Environment, arguments: Arguments) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_member(environment.org, "owner").user)
    for url in addresses(environment, arguments, "POST").values():
        assert client.post(url, {"reason": "mine"}).status_code == 403


def test_grants_on_one_resource_show_that_resource_alone(
    environment: Environment, arguments: Arguments, no_services: None
) -> None:
    from headwater.control.access.actions import grant
    from headwater.control.access.queries import get_role
    from headwater.control.catalog.actions import create_dataset

    create_dataset(actor=SYSTEM, project=environment.project, name="kept_back")
    row = make_member(environment.org, "producer")
    grant(actor=SYSTEM, scope=environment, role=get_role("analyst"), membership=row, resource="dataset:flights")
    client = signed_in(row.user)
    page = text_of(client, HERE + "datasets/")
    assert "flights" in page
    assert "kept_back" not in page
    text_of(client, HERE + "datasets/flights/")
    assert client.get(HERE + "datasets/kept_back/").status_code == 403


def test_a_suspended_organisation_says_so(environment: Environment, client: Client, no_services: None) -> None:
    suspend_organization(actor=SYSTEM, org=environment.org, reason="unpaid")
    assert "acme is suspended" in text_of(client, HERE)


class _Markup(HTMLParser):
    """Collects what a strict policy would refuse, and headings, labels and landmarks."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.ids: list[str] = []
        self.external: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.refused += [f"{tag} {name}" for name in values if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in values):
            self.refused.append(tag)
        if "id" in values:
            self.ids.append(str(values["id"]))
        for name in ("src", "href", "action"):
            value = values.get(name) or ""
            if value.startswith(("http:", "https:", "//")):
                self.external.append(value)


def test_no_page_holds_inline_code_a_twofold_id_or_a_link_elsewhere(
    environment: Environment, arguments: Arguments, client: Client, services: FakeServices
) -> None:
    services.fill()
    for name, url in addresses(environment, arguments).items():
        if name == "audit-export":
            continue
        markup = _Markup()
        markup.feed(text_of(client, url))
        assert markup.refused == [], name
        assert markup.external == [], name
        assert len(markup.ids) == len(set(markup.ids)), f"{name}: {sorted(markup.ids)}"
        policy = client.get(url).headers["Content-Security-Policy"]
        assert "unsafe" not in policy


def test_the_theme_of_a_cookie_is_in_the_first_byte(
    environment: Environment, client: Client, no_services: None
) -> None:
    assert "data-theme" not in text_of(client, HERE).split("<head>")[0]
    client.cookies["hw_theme"] = "dark"
    assert '<html lang="en" data-theme="dark">' in text_of(client, HERE)
    client.cookies["hw_theme"] = '"><script>'
    assert "data-theme" not in text_of(client, HERE).split("<head>")[0]
