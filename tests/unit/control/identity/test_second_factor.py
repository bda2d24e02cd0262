from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from tests.builders.authenticator_app import shown_by_app
from tests.builders.control import PASSWORD, make_key, make_member
from tests.builders.http import Api, with_key
from tests.builders.sign_on import make_provider
from tests.builders.totp import enrol, recovery_codes

from headwater.control.audit.models import AuditEvent
from headwater.control.identity.actions import create_user, reset_second_factor
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.sso.actions import change_policy
from headwater.control.sso.provider import SIGNED_IN_BY

CHALLENGE = "/accounts/2fa/authenticate/"
ENROL = "/accounts/2fa/totp/activate/"


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Host": "127.0.0.1"})


@pytest.fixture
def ada(environment: Environment) -> User:
    user = create_user(actor=SYSTEM, email="ada@example.com", password=PASSWORD, is_admin=True)
    make_member(environment.org, "owner", user)
    return user


def sign_in(browser: Client) -> Any:
    return browser.post("/accounts/login/", {"login": "ada@example.com", "password": PASSWORD})


def is_in(browser: Client) -> bool:
    return "_auth_user_id" in browser.session


def audited(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action))


def test_a_second_factor_is_added_by_its_owner_and_asked_for_next_time(browser: Client, ada: User) -> None:
    sign_in(browser)
    page = browser.get(ENROL, follow=True)
    assert page.redirect_chain[-1][0].startswith("/accounts/reauthenticate/"), "show once more that it is you"
    browser.post(page.redirect_chain[-1][0], {"password": PASSWORD})
    page = browser.get(ENROL)
    secret = re.search(r"<code>([A-Z2-7]{16,})</code>", page.content.decode())
    assert secret
    assert browser.post(ENROL, {"code": "000000"}).status_code == 200
    done = browser.post(ENROL, {"code": shown_by_app(secret[1])}, follow=True)
    assert b"shown this once" in done.content
    assert len(audited("identity.second_factor.added")) == 2, "the app and the recovery codes"
    stored = Authenticator.objects.get(user=ada, type="totp").data["secret"]
    assert secret[1] not in stored

    other = Client(headers={"Host": "127.0.0.1"})
    assert sign_in(other).headers["Location"] == CHALLENGE
    assert not is_in(other)
    assert other.get("/admin/").status_code == 302


def test_the_password_alone_opens_nothing(browser: Client, ada: User) -> None:
    secret = enrol(ada)
    sign_in(browser)
    for path in ("/", "/admin/", "/accounts/sessions/", "/accounts/password/change/", "/accounts/2fa/"):
        assert browser.get(path).status_code == 302, path
    assert Api(browser).get("/organizations").status == 401
    assert browser.post(CHALLENGE, {"code": shown_by_app(secret)}).status_code == 302
    assert is_in(browser)


def test_a_code_works_once(browser: Client, ada: User) -> None:
    secret = enrol(ada)
    code = shown_by_app(secret)
    sign_in(browser)
    browser.post(CHALLENGE, {"code": code})
    other = Client(headers={"Host": "127.0.0.1"})
    sign_in(other)
    assert b"Incorrect code" in other.post(CHALLENGE, {"code": code}).content
    assert not is_in(other)


def test_a_recovery_code_works_once(browser: Client, ada: User) -> None:
    enrol(ada)
    code = recovery_codes(ada)[0]
    sign_in(browser)
    browser.post(CHALLENGE, {"code": code})
    assert is_in(browser)
    other = Client(headers={"Host": "127.0.0.1"})
    sign_in(other)
    other.post(CHALLENGE, {"code": code})
    assert not is_in(other)


def test_codes_cannot_be_tried_for_ever_and_failures_are_audited(browser: Client, ada: User) -> None:
    secret = enrol(ada)
    sign_in(browser)
    replies = [browser.post(CHALLENGE, {"code": "000000"}) for _ in range(6)]
    assert b"Too many" in replies[-1].content
    browser.post(CHALLENGE, {"code": shown_by_app(secret)})
    assert not is_in(browser), "locked: not even the right one"
    assert audited("identity.user.login_failed")


def test_members_see_nothing_before_they_have_the_factor_that_is_asked_of_them(
    browser: Client, environment: Environment, ada: User
) -> None:
    sign_in(browser)
    change_policy(actor=SYSTEM, org=environment.org, mfa_required=True)
    for path in ("/", "/admin/", "/admin/identity/user/", "/accounts/password/change/", "/accounts/sessions/"):
        reply = browser.get(path)
        assert (reply.status_code, reply.headers["Location"]) == (302, ENROL), path
    answer = Api(browser).get("/organizations")
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
    assert "/accounts/2fa/totp/activate/" in answer.body["hint"]
    assert browser.get("/accounts/2fa/").status_code == 200
    enrol(ada)
    assert browser.get("/admin/").status_code == 200


def test_a_key_is_not_asked_for_a_factor_but_a_header_is_no_way_around(
    browser: Client, environment: Environment, ada: User
) -> None:
    sign_in(browser)
    change_policy(actor=SYSTEM, org=environment.org, mfa_required=True)
    assert with_key(environment, "owner").get("/organizations").status == 200
    _, text = make_key(environment)
    with_both = Api(browser, {"Authorization": f"Bearer {text}"})
    assert with_both.get("/organizations").status == 200
    assert Api(browser, {"Authorization": "Bearer nonsense"}).get("/organizations").status == 401
    assert Api(browser, {"Authorization": "Basic nonsense"}).get("/organizations").status == 403
    assert browser.get("/admin/", headers={"Authorization": f"Bearer {text}"}).status_code == 302


def test_the_own_provider_may_have_asked_for_it_but_nobody_elses(
    browser: Client, environment: Environment, ada: User
) -> None:
    change_policy(actor=SYSTEM, org=environment.org, mfa_required=True)
    provider = make_provider(environment.org)
    browser.force_login(ada)

    def with_facts(**facts: Any) -> int:
        session = browser.session
        session[SIGNED_IN_BY] = {"provider": provider.public_id, "user": str(ada.pk), "methods": ["pwd", "mfa"]} | facts
        session.save()
        return int(browser.get("/accounts/sessions/").status_code)

    assert with_facts() == 200
    assert with_facts(methods=["pwd"]) == 302
    assert with_facts(user="somebody else") == 302
    assert with_facts(provider="idp_another") == 302


def test_a_factor_that_is_asked_for_is_not_removed(browser: Client, environment: Environment, ada: User) -> None:
    change_policy(actor=SYSTEM, org=environment.org, mfa_required=True)
    secret = enrol(ada)
    sign_in(browser)
    browser.post(CHALLENGE, {"code": shown_by_app(secret)})
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    browser.post("/accounts/2fa/totp/deactivate/")
    assert Authenticator.objects.filter(user=ada, type="totp").exists()
    change_policy(actor=SYSTEM, org=environment.org, mfa_required=False)
    browser.post("/accounts/2fa/totp/deactivate/")
    assert not Authenticator.objects.filter(user=ada).exists()
    assert audited("identity.second_factor.removed")


def test_an_operator_opens_the_account_of_who_lost_the_phone(browser: Client, ada: User) -> None:
    enrol(ada)
    assert reset_second_factor(actor=SYSTEM, user=ada, reason="the phone is lost") == 2
    sign_in(browser)
    assert is_in(browser)
