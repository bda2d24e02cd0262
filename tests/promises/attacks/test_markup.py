"""Text is shown as text: whatever people or producers write, no page runs it, and no template reads it."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from tests.builders.addresses import MACHINES, addresses
from tests.builders.console import addresses as console_addresses
from tests.builders.console import signed_in
from tests.builders.control import PASSWORD, control_home, django_db_modify_db_settings, environment, owner
from tests.builders.marked import MARK, hostile_answers, marked, write_everywhere
from tests.fakes.data_plane import FakeServices, services

from headwater.control.access.members import add_member
from headwater.control.access.queries import get_role
from headwater.control.identity.actions import create_user
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.control.reviews.models import ReviewTask

__all__ = ["control_home", "django_db_modify_db_settings", "environment", "owner", "services"]

#: Where a browser runs what an attribute says: handlers, and the expressions of htmx and of the admin's Alpine.
_RUNS = re.compile(r"^(on|x-|:|@|hx-on|hx-vals|hx-vars|hx-headers|style$)")


class Page(HTMLParser):
    """Finds what of a page would run or load something, as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.dangers: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag if tag in ("script", "style") else ""
        for name, value in attrs:
            text = value or ""
            if name == "onerror" or (_RUNS.match(name) and ("hw()" in text or "7*7" in text)):
                self.dangers.append(f"<{tag} {name}={text[:80]!r}>")
            if name in ("href", "src", "action", "formaction") and re.match(r"\s*(javascript|data|vbscript):", text):
                self.dangers += [] if text.startswith("data:image/") else [f"<{tag} {name}={text[:80]!r}>"]
            self.texts.append(text)

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's signature
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside and "hw()" in data and "<img" in data:
            self.dangers.append(f"<{self._inside}>: {data[:80]!r}")
        self.texts.append(data)


@pytest.fixture
def arguments(environment: Environment, owner: Actor, services: FakeServices) -> dict[str, tuple[Any, ...]]:
    """An organisation full of markup; what the addresses of the console's pages are made of."""
    hostile_answers(services)
    return marked(environment, owner)


@pytest.fixture
def mighty(environment: Environment, arguments: dict[str, tuple[Any, ...]]) -> User:
    """Somebody who sees everything there."""
    user = create_user(actor=SYSTEM, email="mighty@example.org", password=PASSWORD, is_admin=True)
    add_member(actor=SYSTEM, org=environment.org, user=user, role=get_role("owner"))
    return user


def html_of(reply: Any) -> str | None:
    """Return a reply's page, None for anything else."""
    content = reply.getvalue()
    return content.decode() if reply.headers.get("Content-Type", "").startswith("text/html") else None


def every_page(environment: Environment, arguments: dict[str, tuple[Any, ...]]) -> list[str]:
    """Return an address of every template, of the console's pages those that show something."""
    task = ReviewTask.objects.for_org(environment.org).get()
    reviews = {"review-queue": ("uncertain",), "review-task": (task.public_id,)}
    found = {*dict(addresses(environment, MACHINES)).values()}
    return sorted(found | {*console_addresses(environment, arguments | reviews).values()})


def check_policy(path: str, reply: Any) -> None:
    """Assert that a browser would run nothing on this page that we did not put there."""
    policy: dict[str, str] = dict(
        part.strip().partition(" ")[::2] for part in str(reply.headers["Content-Security-Policy"]).split(";")
    )
    assert "'unsafe-inline'" not in policy.get("script-src", policy["default-src"]), path
    assert policy["default-src"] in ("'self'", "'none'"), path
    for name, value in policy.items():
        assert "*" not in value.replace("data:", ""), f"{path}: {name} {value}"
        assert "http" not in value, f"{path}: {name} {value}"
        if not path.startswith("/admin/"):
            assert "unsafe" not in value, f"{path}: {name} {value}"
    assert policy["frame-ancestors"] == "'none'", path
    assert policy.get("object-src", policy["default-src"]) == "'none'", path
    assert policy["base-uri"] in ("'self'", "'none'"), path
    assert reply.headers["X-Content-Type-Options"] == "nosniff", path


def test_what_is_stored_is_shown_as_text_on_every_page(
    environment: Environment, arguments: dict[str, tuple[Any, ...]], mighty: User
) -> None:
    client, pages, shown, dangers = signed_in(mighty), 0, 0, []
    for path in every_page(environment, arguments):
        if path.startswith(("/accounts/logout", "/admin/logout")):
            continue
        reply = client.get(path)
        assert reply.status_code < 500 or reply.status_code == 503, f"{path}: {reply.status_code}"
        text = html_of(reply)
        if text is None:
            continue
        pages += 1
        check_policy(path, reply)
        page = Page(text)
        dangers += [f"{path}: {danger}" for danger in page.dangers]
        assert "<img src=x" not in text, f"{path}: {text[max(text.find('<img src=x') - 200, 0) :][:300]}"
        shown += any("{{7*7}}" in piece for piece in page.texts)
    assert dangers == []
    assert pages > 200
    assert shown > 60, "the texts are there to be seen"


def test_letters_of_any_script_arrive_as_they_were_written(environment: Environment, mighty: User) -> None:
    page = signed_in(mighty).get(f"/o/{environment.org.slug}/-/settings/").content.decode()
    assert MARK in unescape(str(page))


def test_most_columns_take_markup_so_that_the_walk_means_something(environment: Environment, mighty: User) -> None:
    taken = write_everywhere()
    assert len(taken) > 25, taken
    assert {"Organization.name", "Flag.description", "ReviewQueue.title", "User.name", "SnapshotAck.node"} <= set(taken)


def test_what_a_question_says_is_not_echoed_as_markup(environment: Environment, mighty: User) -> None:
    """Searches, filters, orders and cursors of every page, and addresses that do not exist."""
    client, dangers = signed_in(mighty), []
    names = ("q", "search", "o", "p", "e", "cursor", "after", "next", "status", "state", "action", "actor", "target",
             "kind", "tab", "environment", "revision", "resource", "permission", "principal", "from", "until", "to",
             "window", "sort", "page", "_changelist_filters", "email", "error", "message")  # fmt: skip
    everything = dict.fromkeys(names, MARK)
    for path in sorted(dict(addresses(environment, MACHINES)).values()):
        if path.startswith(("/accounts/logout", "/admin/logout", "/api/")):
            continue
        asked = [client.get(path, everything), client.get(path, {"q": MARK}), client.get(path + MARK)]
        for reply in asked:
            assert reply.status_code < 500 or reply.status_code == 503, f"{path}: {reply.status_code}"
            text = html_of(reply)
            if text is not None:
                check_policy(path, reply)
                dangers += [f"{path}: {danger}" for danger in Page(text).dangers]
                assert "<img src=x" not in text, f"{path}: {text[max(text.find('<img src=x') - 200, 0) :][:300]}"
    assert dangers == []


def test_what_a_form_refuses_is_given_back_as_text(environment: Environment, mighty: User) -> None:
    client, dangers = signed_in(mighty), []
    for path in sorted(dict(addresses(environment, MACHINES)).values()):
        if path.startswith("/api/") or "logout" in path:
            continue
        form = getattr(client.get(path), "context", None)
        fields = {name for one in (form or []) for name in _fields(one)}
        if not fields:
            continue
        reply = client.post(path, dict.fromkeys(fields, MARK))
        assert reply.status_code < 500 or reply.status_code == 503, f"{path}: {reply.status_code}"
        client.force_login(mighty)
        text = html_of(reply)
        if text is not None:
            dangers += [f"{path}: {danger}" for danger in Page(text).dangers]
            assert "<img src=x" not in text, path
    assert dangers == []


def test_refusals_carry_the_policy_too(environment: Environment) -> None:
    strict = Client(enforce_csrf_checks=True)
    for reply in (
        strict.get("/no/such/page"), strict.post("/accounts/login/"), Client(headers={"Host": "evil.example"}).get("/"),
        strict.get("/o/acme/-/team/"), strict.get("/admin/"),
    ):  # fmt: skip
        if html_of(reply) is not None:
            check_policy(reply.request["PATH_INFO"], reply)
            nonce = re.search(r"'nonce-([^']+)'", reply.headers["Content-Security-Policy"])
            assert nonce is not None


def _fields(context: Any) -> set[str]:
    form = context.get("form") if hasattr(context, "get") else None
    return set(getattr(form, "fields", ()))
