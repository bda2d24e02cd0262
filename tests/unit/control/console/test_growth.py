"""Pages ask the same number of questions of the database however many rows there are."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from bench.control_seed import Seeder, Sizes
from bench.control_walk import console_arguments
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from tests.builders.console import address, signed_in
from tests.builders.control import make_user
from tests.fakes.data_plane import no_services

from headwater.control.console.pages import PAGES
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment

__all__ = ["no_services"]

FEW, MANY = 5, 45


def questions(client: Client, url: str) -> list[str]:
    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        reply = client.get(url)
    assert reply.status_code == 200, f"{url}: {reply.status_code}"
    return [query["sql"] for query in queries.captured_queries]


def compare(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> list[str]:
    return [
        f"{url}: {len(asked)} questions became {len(after[url])}: {after[url][-1][:300]}"
        for url, asked in before.items()
        if len(after[url]) > len(asked)
    ]


@pytest.mark.timeout(480)
def test_no_page_asks_more_when_there_is_more(environment: Environment, owner: Actor, no_services: None) -> None:
    reverse("home")  # the addresses bring the pages with them
    Seeder(environment).fill(Sizes.alike(FEW))
    arguments = console_arguments(environment)
    pages = [page for page in PAGES.values() if "GET" in page.methods and page.name != "audit-export"]
    console = [
        address(environment, page, arguments) for page in pages if "<" not in page.route or page.name in arguments
    ]
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") for model in admin.site._registry
    ]
    member, operator = signed_in(owner.subject), signed_in(make_user(is_admin=True))

    def walk() -> dict[str, list[str]]:
        found = {url: questions(member, url) for url in console}
        return found | {url: questions(operator, url) for url in [reverse("admin:index"), *lists]}

    before = walk()
    Seeder(environment, first=FEW).fill(Sizes.alike(MANY))
    assert compare(before, walk()) == []
