"""Whatever stands in an address, a question, a body or a header is answered, and never a failure of ours."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import pytest
from tests.builders.addresses import MACHINES, PART, addresses, routes
from tests.builders.console import signed_in, stock
from tests.builders.control import (
    control_home,
    django_db_modify_db_settings,
    environment,
    make_member,
    make_user,
    owner,
)
from tests.fakes.data_plane import FakeServices, services

from headwater.control.identity.models import User
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment, Organization

__all__ = ["control_home", "django_db_modify_db_settings", "environment", "owner", "services"]

HOSTILE: Final = [
    "'", '"; DROP TABLE orgs_organization; --', "') OR 1=1 --", "{{7*7}}", "{% raw %}", "${7*7}", "%00", "\x00a",
    "\ufffe", "9" * 400, "-1", "1e309", "NaN", "../../etc/passwd", "a" * 5_000, "0x7f", "\u202e", "İ", "[]", "null",
    "2026-99-99T99:99:99Z", "99999-01-01", "id__org__name", "AAAA", "////", "(((((((((", "*" * 50,
]  # fmt: skip
#: What pages of the console and lists of the admin ask for, besides what the admin's own filters are called.
ASKED: Final = (
    "q", "o", "p", "e", "all", "cursor", "after", "before", "status", "state", "action", "actor", "target", "kind",
    "tab", "environment", "revision", "resource", "permission", "principal", "from", "until", "window", "sort",
    "page", "field", "next", "mine", "number", "carrier", "limit", "key", "version", "_popup", "_to_field",
    "app_label", "model_name", "field_name", "term", "created_at__gte", "org__id__exact", "status__exact", "id__in",
    "pk__in",
)  # fmt: skip
LOGOUT: Final = re.compile(r"logout")


@pytest.fixture
def mighty(environment: Environment, owner: Actor, services: FakeServices) -> User:
    """Somebody who sees everything, in an organisation that has one of everything."""
    stock(environment, owner)
    services.fill()
    return make_member(environment.org, "owner", make_user("mighty@example.org", is_admin=True)).user


def refused_well(reply: Any, asked: str) -> None:
    """Assert that we did not fail, and told nothing of our insides."""
    assert reply.status_code < 500 or reply.status_code == 503, f"{asked}: {reply.status_code}"
    if reply.status_code >= 400:
        text = reply.getvalue().decode("utf-8", "replace")
        for inside in ("Traceback", "site-packages", "sqlite3", "psycopg", "OperationalError"):
            assert inside not in text, asked


def pages(environment: Environment) -> list[str]:
    found = sorted({path for path in dict(addresses(environment, MACHINES)).values() if not LOGOUT.search(path)})
    assert len(found) > 300
    return found


@pytest.mark.timeout(600)
def test_no_question_makes_a_page_fail(environment: Environment, mighty: User) -> None:
    """Each page is asked with every parameter at once, each time and on each page with other values."""
    client, organizations = signed_in(mighty), Organization.unscoped.count()
    client.raise_request_exception = False
    for number, path in enumerate(pages(environment)):
        if path.startswith("/api/"):
            continue  # its parameters are asked one by one
        for turn in range(2):
            at = number * 2 + turn
            said = {name: HOSTILE[(at + n) % len(HOSTILE)] for n, name in enumerate(ASKED)}
            refused_well(client.get(path, said), f"{path} {said}")
    assert Organization.unscoped.count() == organizations


def test_no_row_that_cannot_be_makes_a_page_of_the_admin_fail(environment: Environment, mighty: User) -> None:
    client, asked = signed_in(mighty), 0
    client.raise_request_exception = False
    for template, _ in routes():
        if not template.startswith("admin/") or "object_id>/" not in template or template.count("<") != 1:
            continue
        for value in ("'", "9" * 400):
            path = "/" + PART.sub(quote(value, safe=""), template)
            refused_well(client.get(path), path[:100])
            asked += 1
    assert asked > 100
