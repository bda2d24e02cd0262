"""Where an organisation enforces its identity provider, every other way in is closed: each route by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from django.core import mail
from django.test import Client
from tests.builders.authenticator_app import shown_by_app
from tests.builders.control import PASSWORD, events, make_environment, make_member
from tests.builders.http import Api
from tests.builders.sign_on import make_domain, make_enforced, make_provider
from tests.builders.totp import enrol

from headwater.control.identity.actions import create_user
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.sso.actions import (
    change_enforcement,
    change_provider,
    dismiss_recovery_owner,
    name_recovery_owner,
    remove_domain,
)
from headwater.control.sso.models import Domain, IdentityProvider
from headwater.core.errors import HeadwaterError

EMAIL = "ada@example.com"
LOGIN = "/accounts/login/"


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Host": "127.0.0.1"})


@pytest.fixture
def ada(environment: Environment) -> User:
    user = create_user(actor=SYSTEM, email=EMAIL, password=PASSWORD)
    make_member(environment.org, "owner", user)
    return user


def is_in(browser: Client) -> bool:
    return "_auth_user_id" in browser.session


def sign_in(browser: Client, email: str = EMAIL, password: str = PASSWORD, **more: str) -> Any:
    return browser.post(LOGIN, {"login": email, "password": password, **more})


def leads_to_provider(reply: Any, provider: IdentityProvider) -> bool:
    return reply.status_code == 200 and f"/accounts/oidc/{provider.public_id}/login/" in reply.content.decode()


def test_the_address_decides_the_way_in(browser: Client, environment: Environment, ada: User) -> None:
    assert b'type="password"' in browser.post(LOGIN, {"login": EMAIL}).content
    provider = make_enforced(environment.org)
    reply = browser.post(LOGIN, {"login": " Ada@EXAMPLE.com ", "next": "/admin/"})
    assert leads_to_provider(reply, provider)
    assert "next=%2Fadmin%2F" in reply.content.decode()
    assert b'type="password"' in browser.post(LOGIN, {"login": "somebody@else.example"}).content


def test_not_by_password(browser: Client, environment: Environment, ada: User) -> None:
    provider = make_enforced(environment.org)
    for password in (PASSWORD, "wrong"):
        assert leads_to_provider(sign_in(browser, password=password), provider), "right or wrong looks the same"
        assert not is_in(browser)


def test_not_by_password_with_the_recovery_word(browser: Client, environment: Environment, ada: User) -> None:
    make_enforced(environment.org)
    answers = {
        re.sub(r'value="[^"]{64}"', "", sign_in(browser, password=word, recovery="yes").content.decode())
        for word in (PASSWORD, "wrong")
    }
    assert len(answers) == 1, "right or wrong looks the same"
    assert not is_in(browser)


def test_not_by_the_admins_own_login(browser: Client, environment: Environment, ada: User) -> None:
    make_enforced(environment.org)
    reply = browser.post("/admin/login/", {"username": EMAIL, "password": PASSWORD})
    assert reply.status_code == 302
    assert reply.headers["Location"].startswith(LOGIN)
    assert not is_in(browser)


def test_not_by_a_reset_password(browser: Client, environment: Environment, ada: User) -> None:
    browser.post("/accounts/password/reset/", {"email": EMAIL})
    link = next(word for word in mail.outbox[0].body.split() if "/reset/key/" in word)
    make_enforced(environment.org)
    page = browser.get(link.partition("127.0.0.1")[2], follow=True)
    form = {"password1": "quite another one", "password2": "quite another one"}
    reply = browser.post(page.redirect_chain[-1][0], form)
    assert b"there is no password to set" in reply.content
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    mail.outbox.clear()
    browser.post("/accounts/password/reset/", {"email": EMAIL})
    assert "/reset/key/" not in mail.outbox[0].body
    assert "Example ID" in mail.outbox[0].body


def test_not_by_a_second_factor_begun_before(browser: Client, environment: Environment, ada: User) -> None:
    secret = enrol(ada)
    assert sign_in(browser).headers["Location"] == "/accounts/2fa/authenticate/"
    provider = make_enforced(environment.org)
    reply = browser.post("/accounts/2fa/authenticate/", {"code": shown_by_app(secret)})
    assert leads_to_provider(reply, provider)
    assert not is_in(browser)


def test_not_by_a_session_from_before(browser: Client, environment: Environment, ada: User) -> None:
    sign_in(browser)
    assert is_in(browser)
    make_enforced(environment.org)
    (event,) = events(environment.org, "sso.provider.enforcement_changed")
    assert event.related[-1]["after"] == {"ended_sessions": 1}
    assert browser.get("/accounts/sessions/").headers["Location"].startswith(LOGIN)


def test_not_by_a_session_that_was_made_beside_our_pages(browser: Client, environment: Environment, ada: User) -> None:
    make_enforced(environment.org)
    browser.force_login(ada)
    assert browser.get("/admin/").headers["Location"].startswith(LOGIN)
    assert not is_in(browser)
    api = Api(browser)
    browser.force_login(ada)
    assert api.get("/organizations").status == 401


def test_not_through_another_organisations_provider(browser: Client, environment: Environment, ada: User) -> None:
    make_enforced(environment.org)
    other = make_provider(make_environment("other").org)
    browser.force_login(ada)
    session = browser.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": "socialaccount", "provider": other.public_id, "uid": "1", "at": 1.0}
    ]
    session["account_authentication_methods_user"] = str(ada.pk)
    session.save()
    assert browser.get("/admin/").headers["Location"].startswith(LOGIN)


def test_through_its_provider(browser: Client, environment: Environment, ada: User) -> None:
    provider = make_enforced(environment.org)
    browser.force_login(ada)
    session = browser.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": "socialaccount", "provider": provider.public_id, "uid": "1", "at": 1.0}
    ]
    session["account_authentication_methods_user"] = str(ada.pk)
    session.save()
    assert browser.get("/accounts/sessions/").status_code == 200


def test_an_owner_kept_for_recovery_breaks_the_glass_and_it_is_audited(
    browser: Client, environment: Environment, ada: User
) -> None:
    provider = make_enforced(environment.org)
    kept = name_recovery_owner(actor=SYSTEM, membership=ada.memberships.get(), reason="the day it is away")
    assert leads_to_provider(sign_in(browser), provider), "not without asking for it"
    assert sign_in(browser, recovery="yes").status_code == 302
    assert is_in(browser)
    (event,) = events(environment.org, "identity.provider.bypassed")
    assert event.after == {"recovered_by": EMAIL}
    assert browser.get("/accounts/sessions/").status_code == 200
    dismiss_recovery_owner(actor=SYSTEM, recovery=kept)
    assert browser.get("/accounts/sessions/").headers["Location"].startswith(LOGIN)


def test_who_owns_the_organisation_no_more_recovers_nothing(
    browser: Client, environment: Environment, ada: User
) -> None:
    from headwater.control.access.members import change_role
    from headwater.control.access.queries import get_role

    make_enforced(environment.org)
    make_member(environment.org, "owner")
    name_recovery_owner(actor=SYSTEM, membership=ada.memberships.get(), reason="the day it is away")
    change_role(actor=SYSTEM, membership=ada.memberships.get(), role=get_role("analyst"))
    sign_in(browser, recovery="yes")
    assert not is_in(browser)


def test_only_owners_are_kept_for_recovery(environment: Environment) -> None:
    with pytest.raises(HeadwaterError, match="does not own"):
        name_recovery_owner(actor=SYSTEM, membership=make_member(environment.org, "admin"), reason="wish")


def test_a_mistake_locks_nobody_out(environment: Environment) -> None:
    provider = make_provider(environment.org)
    with pytest.raises(HeadwaterError, match="no domain is verified"):
        change_enforcement(actor=SYSTEM, provider=provider, enforced=True)
    make_domain(environment.org)
    with pytest.raises(HeadwaterError, match="nobody has signed in through"):
        change_enforcement(actor=SYSTEM, provider=provider, enforced=True)
    name_recovery_owner(actor=SYSTEM, membership=make_member(environment.org, "owner"), reason="away")
    assert change_enforcement(actor=SYSTEM, provider=provider, enforced=True).enforced
    with pytest.raises(HeadwaterError, match="enforced"):
        change_provider(actor=SYSTEM, provider=provider, enabled=False)


def test_enforcement_reaches_the_covered_domains_alone(browser: Client, environment: Environment, ada: User) -> None:
    provider = make_enforced(environment.org)
    make_domain(environment.org, "other.example")
    change_provider(actor=SYSTEM, provider=provider, domains=["other.example"])
    assert sign_in(browser).status_code == 302
    with pytest.raises(HeadwaterError, match="not a verified domain"):
        change_provider(actor=SYSTEM, provider=provider, domains=["example.net"])


def test_a_domain_given_up_is_free_again(browser: Client, environment: Environment, ada: User) -> None:
    make_enforced(environment.org)
    remove_domain(actor=SYSTEM, domain=Domain.unscoped.get())
    assert sign_in(browser).status_code == 302
