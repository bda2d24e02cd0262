"""The console's pages: they open for whom they should, show what they should, and nothing of anybody else's."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from tests.builders.control import make_environment, make_member, make_user
from tests.builders.projects import WORST, flights, resources
from tests.fakes.data_plane import FakeServices, no_services, services

from headwater.control.catalog.apply import apply_project
from headwater.control.identity.actions import change_staff
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.actions import create_environment
from headwater.control.orgs.models import Environment

__all__ = ["no_services", "services"]

HERE = "/o/acme/air/dev/"


@pytest.fixture
def stocked(environment: Environment, owner: Actor) -> Environment:
    """An environment with a dataset and an endpoint."""
    apply_project(actor=owner, environment=environment, resources=resources({"d": flights()}, {"worst.sql": WORST}))
    return environment


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def member(environment: Environment, role: str = "owner") -> Client:
    return signed_in(make_member(environment.org, role).user)


def text_of(client: Client, url: str) -> str:
    reply = client.get(url, follow=True)
    assert reply.status_code == 200, f"{url}: {reply.status_code}"
    return reply.content.decode()


def test_the_front_door_leads_members_to_where_they_were_last(stocked: Environment, no_services: None) -> None:
    client = member(stocked)
    assert client.get("/", follow=True).redirect_chain[-1][0] == HERE
    assert client.cookies["hw_place"].value == "acme/air/dev"
    create_environment(actor=SYSTEM, project=stocked.project, key="a")
    assert client.get("/", follow=True).redirect_chain[-1][0] == HERE
    client.get("/o/acme/air/a/")
    assert client.get("/", follow=True).redirect_chain[-1][0] == "/o/acme/air/a/"


def test_the_front_door_leads_staff_who_belong_nowhere_to_the_admin(environment: Environment) -> None:
    user = make_user()
    assert Client().get("/").headers["Location"].startswith("/accounts/login/")
    assert "No organisation has you as a member yet" in text_of(signed_in(user), "/")
    change_staff(actor=SYSTEM, user=user, is_staff=True)
    assert signed_in(user).get("/").headers["Location"] == reverse("admin:index")


def test_datasets_are_listed_with_what_the_services_count(stocked: Environment, services: FakeServices) -> None:
    services.fill()
    page = text_of(member(stocked), HERE + "datasets/")
    assert "flights" in page
    assert "985" in page
    assert "flights" in text_of(member(stocked), HERE + "datasets/?q=FLI")
    assert "No dataset is called" in text_of(member(stocked), HERE + "datasets/?q=zzz")
    assert "carrier" in text_of(member(stocked), HERE + "datasets/flights/")


def test_a_stranger_finds_nothing_of_an_organisation(stocked: Environment, no_services: None) -> None:
    stranger = member(make_environment("other"))
    for url in (HERE, HERE + "datasets/", HERE + "datasets/flights/", "/o/acme/", "/o/acme/-/settings/"):
        assert stranger.get(url).status_code == 404


def test_who_lacks_a_permission_is_told_which(stocked: Environment, no_services: None) -> None:
    producer = member(stocked, "producer")
    page = producer.get(HERE + "datasets/")
    assert page.status_code == 403
    assert "dataset.read" in page.content.decode()
    assert 'datasets/"' not in text_of(producer, HERE)
