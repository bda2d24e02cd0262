"""Another site sends a signed-in person's browser here: nothing happens, and nobody is sent on to where it wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from tests.builders.addresses import MACHINES, addresses
from tests.builders.console import signed_in, stock
from tests.builders.control import (
    PASSWORD,
    control_home,
    django_db_modify_db_settings,
    environment,
    make_member,
    owner,
)

from headwater.control.audit.models import AuditEvent
from headwater.control.identity.actions import create_user
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment

__all__ = ["control_home", "django_db_modify_db_settings", "environment", "owner"]

WRITING = ("POST", "PUT", "PATCH", "DELETE")
ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "http:evil.example",
    "https:///evil.example/",
    "javascript:alert(document.domain)",
    "data:text/html,evil.example",
    "\thttps://evil.example/",
    "\x00//evil.example/",
    "https://testserver@evil.example/",
    "https://testserver.evil.example/",
    "/%09/evil.example/",
    "http://testserver\r\nLocation: https://evil.example/",
]


@pytest.fixture
def mighty(environment: Environment, owner: Actor) -> User:
    """Somebody who may do everything, in an organisation that has one of everything."""
    stock(environment, owner)
    user = create_user(actor=SYSTEM, email="mighty@example.org", password=PASSWORD, is_admin=True)
    make_member(environment.org, "owner", user)
    return user


def walked(environment: Environment) -> list[str]:
    """Return one address of every template that people use."""
    found = sorted(dict(addresses(environment, MACHINES)).values())
    assert len(found) > 400
    return found


def test_no_address_takes_a_form_of_another_site(environment: Environment, mighty: User) -> None:
    """With the session's cookie and without the token, whatever writes is refused before it looks at anything."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(mighty)
    before = AuditEvent.objects.count()
    let_in = []
    for path in walked(environment):
        for method in WRITING:
            reply = client.generic(method, path, b"{}", content_type="application/json")
            allowed = {403, 405} if path.startswith("/api/") else {403}
            if reply.status_code not in allowed:
                let_in.append(f"{method} {path}: {reply.status_code}")
    assert let_in == []
    assert AuditEvent.objects.count() == before
    assert client.session["_auth_user_id"] == str(mighty.pk), "nor were they signed out"


def test_no_form_of_another_site_is_taken_with_a_token_of_its_own(environment: Environment, mighty: User) -> None:
    victim, attacker = Client(enforce_csrf_checks=True), Client(enforce_csrf_checks=True)
    for client in (victim, attacker):
        client.get("/accounts/login/")
    token = attacker.cookies["hw_csrf"].value
    assert token != victim.cookies["hw_csrf"].value
    victim.force_login(mighty)
    path = f"/o/{environment.org.slug}/-/team/groups/new/"
    assert victim.post(path, {"name": "theirs", "csrfmiddlewaretoken": token}).status_code == 403
    own = victim.cookies["hw_csrf"].value
    refused = victim.post(
        path, {"name": "theirs", "csrfmiddlewaretoken": own}, headers={"Origin": "https://evil.example"}
    )
    assert refused.status_code == 403


def test_reading_changes_nothing(environment: Environment, mighty: User) -> None:
    """A link or an image of another site is a GET, which no token guards."""
    client = Client(raise_request_exception=False)
    client.force_login(mighty)
    before = AuditEvent.objects.count()
    for path in walked(environment):
        reply = client.get(path)
        assert reply.status_code < 500 or reply.status_code == 503, path
        reply.getvalue()
        assert AuditEvent.objects.count() == before, path


def replies(path: str, target: str, user: User) -> Iterator[tuple[str, Any]]:
    """Yield what a link or a form gets that says in every usual way where to go next, signed in and not."""
    said = dict.fromkeys(("next", "redirect_to", "return_to", "url", "back", "redirect_uri", "_popup"), target)
    for client in (Client(raise_request_exception=False), signed_in(user)):
        yield f"GET {path}", client.get(path, said)
        yield f"POST {path}", client.post(path, said)


@pytest.mark.timeout(300)
def test_no_address_sends_anybody_to_another_site(environment: Environment, mighty: User) -> None:
    """Every address is asked once; those that do go where they are told, with every disguise of another site."""
    obliging = []
    for path in walked(environment):
        if path.startswith(("/api/", "/admin/r/")):
            continue  # the API answers data, and "view on site" takes no address
        told = [reply.headers.get("Location", "") for _, reply in replies(path, "/o/acme/?x=1", mighty)]
        obliging += [path] if "/o/acme/?x=1" in told else []
    assert obliging, "signing in goes where it is told, within the site"
    astray = []
    for path in obliging:
        for target in ELSEWHERE:
            for asked, reply in replies(path, target, mighty):
                to = reply.headers.get("Location", "")
                if to and not (to.startswith("/") and not to.startswith(("//", "/\\"))):
                    astray.append(f"{asked} {target!r}: {to}")
    assert astray == []


@pytest.mark.parametrize("target", ELSEWHERE)
def test_whoever_signs_in_stays_on_this_site(environment: Environment, mighty: User, target: str) -> None:
    sent = {"login": "mighty@example.org", "password": PASSWORD, "next": target}
    for path in ("/accounts/login/", "/admin/login/"):
        client = Client()
        client.get(path, {"next": target}, follow=True)
        reply = client.post("/accounts/login/", sent)
        assert reply.headers["Location"].startswith("/"), reply.headers["Location"]
        assert not reply.headers["Location"].startswith(("//", "/\\"))


def test_the_session_and_the_token_change_at_the_sign_in(environment: Environment, mighty: User) -> None:
    client = Client(headers={"Host": "127.0.0.1"})
    client.get("/accounts/login/")
    session = client.session
    session["planted"] = "by somebody else"
    session.save()
    client.cookies["hw_session"] = planted = str(session.session_key)
    token = client.cookies["hw_csrf"].value
    client.post("/accounts/login/", {"login": "mighty@example.org", "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(mighty.pk)
    assert client.session.session_key != planted
    assert client.cookies["hw_csrf"].value != token
    assert client.cookies["hw_session"]["httponly"]
    assert client.cookies["hw_session"]["samesite"] == "Lax"
    again = Client(headers={"Host": "127.0.0.1"})
    again.cookies["hw_session"] = planted
    assert again.get("/accounts/sessions/").status_code == 302, "what was planted opens nothing"
