"""Who becomes a member by themselves: people of a domain that lets them in, and whom a provider signs in."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.core import mail
from django.test import Client
from tests.builders.control import PASSWORD, events, make_environment, make_member, make_user
from tests.builders.sign_on import make_domain, make_enforced, make_provider

from headwater.control import configuration
from headwater.control.access.authority import has_permission
from headwater.control.access.members import suspend_member
from headwater.control.access.queries import get_role
from headwater.control.identity.actions import deactivate_user
from headwater.control.identity.joining import admit
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment, Membership
from headwater.control.sso.actions import change_joining, change_provider
from headwater.control.sso.models import IdentityProvider
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import IdentitySettings

EMAIL = "new@example.com"


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Host": "127.0.0.1"})


def open_to_its_people(environment: Environment) -> None:
    change_joining(actor=SYSTEM, domain=make_domain(environment.org), auto_join=True, role=get_role("analyst"))


def sign_up(browser: Client, email: str = EMAIL, password: str = PASSWORD) -> Any:
    return browser.post("/accounts/signup/", {"email": email, "password1": password})


def confirm(browser: Client) -> None:
    link = next(word for word in mail.outbox[-1].body.split() if "/confirm-email/" in word)
    browser.post(link.partition("127.0.0.1")[2])


def members(environment: Environment) -> list[str]:
    return sorted(Membership.objects.for_org(environment.org).values_list("user__email", flat=True))


def test_signing_up_is_closed_by_default(browser: Client, environment: Environment) -> None:
    make_domain(environment.org)
    assert b"by invitation" in sign_up(browser).content
    assert not User.objects.filter(email=EMAIL).exists()


def test_people_of_a_domain_join_once_they_have_proved_their_address(browser: Client, environment: Environment) -> None:
    open_to_its_people(environment)
    assert sign_up(browser).headers["Location"] == "/accounts/confirm-email/"
    assert "_auth_user_id" not in browser.session
    browser.post("/accounts/login/", {"login": EMAIL, "password": PASSWORD})
    assert "_auth_user_id" not in browser.session, "not before the address is proved"
    assert members(environment) == []
    confirm(browser)
    user = User.objects.get(email=EMAIL)
    assert members(environment) == [EMAIL]
    assert Membership.objects.for_org(environment.org).get().source == "domain"
    assert has_permission(user, "dataset.read", environment)
    assert not has_permission(user, "dataset.write", environment)
    assert browser.post("/accounts/login/", {"login": EMAIL, "password": PASSWORD}).status_code == 302
    assert browser.session["_auth_user_id"] == str(user.pk)


def test_people_of_other_domains_do_not(browser: Client, environment: Environment) -> None:
    open_to_its_people(environment)
    for email in ("eve@evil.example", "eve@sub.example.com", "eve@example.com.evil.example", "eve@example.co"):
        assert b"by invitation" in sign_up(browser, email).content, email
    assert not User.objects.exists()


def test_signing_up_does_not_tell_who_has_an_account(browser: Client, environment: Environment) -> None:
    open_to_its_people(environment)
    make_user("known@example.com")
    known, unknown = sign_up(browser, "known@example.com"), sign_up(Client(headers={"Host": "127.0.0.1"}))
    assert (known.status_code, known.headers["Location"]) == (unknown.status_code, unknown.headers["Location"])
    assert "has one already" in mail.outbox[0].body


def test_open_signup_is_a_setting_and_makes_nobody_a_member(
    browser: Client, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = configuration.current().model_copy(update={"identity": IdentitySettings(open_signup=True)})
    monkeypatch.setattr(configuration, "current", lambda: given)
    sign_up(browser, "any@else.example")
    confirm(browser)
    assert EmailAddress.objects.get(email="any@else.example").verified
    assert members(environment) == []


def test_people_of_an_enforced_domain_make_no_password(browser: Client, environment: Environment) -> None:
    open_to_its_people(environment)
    provider = make_provider(environment.org)
    IdentityProvider._base_manager.filter(pk=provider.pk).update(enforced=True)
    assert b"signs you in through" in sign_up(browser).content
    assert not User.objects.exists()


def told(provider: IdentityProvider, **changed: Any) -> User:
    values: dict[str, Any] = {"subject": "1", "email": EMAIL, "email_verified": True, "name": "Nia"} | changed
    return admit(provider=provider, **values)[0]


def test_a_provider_brings_people_in_with_the_default_role(environment: Environment) -> None:
    provider = make_enforced(environment.org)
    user = told(provider)
    assert (user.email, user.name, user.has_usable_password()) == (EMAIL, "Nia", False)
    assert Membership.objects.for_org(environment.org).get().source == "jit"
    assert has_permission(user, "dataset.read", environment)
    assert told(provider) == user
    assert told(provider, email="renamed@example.com") == user, "the subject is who they are"
    assert len(events(environment.org, "identity.account.linked")) == 1
    assert IdentityProvider.unscoped.get().used_at is not None


@pytest.mark.parametrize("email_verified", [False, None, "true", 1, "false", []])
def test_an_address_that_the_provider_does_not_vouch_for_is_refused(
    environment: Environment, email_verified: object
) -> None:
    provider = make_enforced(environment.org)
    with pytest.raises(HeadwaterError, match="does not vouch"):
        told(provider, email_verified=email_verified)
    with pytest.raises(HeadwaterError, match="did not say who"):
        told(provider, email="")
    assert not User.objects.exists()


def test_a_provider_speaks_for_its_own_verified_domains_alone(environment: Environment) -> None:
    """Else any organisation's provider could sign anybody in as anybody."""
    provider = make_enforced(environment.org)
    other = make_environment("other").org
    make_domain(other, "other.example")
    admin = make_user("root@platform.example", is_admin=True)
    for email in ("root@platform.example", "boss@other.example", "x@unclaimed.example", "x@sub.example.com", "no-host"):
        with pytest.raises(HeadwaterError, match="does not speak for"):
            told(provider, email=email)
    assert not SocialAccount.objects.filter(user=admin).exists()


def test_a_linked_account_is_not_kept_when_the_domain_is_gone(environment: Environment) -> None:
    provider = make_enforced(environment.org)
    told(provider)
    make_domain(environment.org, "other.example")
    change_provider(actor=SYSTEM, provider=provider, domains=["other.example"])
    with pytest.raises(HeadwaterError, match="does not speak for"):
        told(provider)


def test_somebody_with_an_account_keeps_it(environment: Environment) -> None:
    user = make_member(environment.org, "owner", make_user(EMAIL)).user
    assert told(make_enforced(environment.org)) == user
    assert has_permission(user, "dataset.write", environment), "and the role they have"


def test_coming_in_again_is_no_way_around_a_suspension(environment: Environment) -> None:
    provider = make_enforced(environment.org)
    user = told(provider)
    suspend_member(actor=SYSTEM, membership=user.memberships.get(), reason="left")
    told(provider)
    assert user.memberships.get().status == "suspended"
    deactivate_user(actor=SYSTEM, user=user, reason="left")
    with pytest.raises(HeadwaterError, match="may not sign in"):
        told(provider)


def test_two_providers_with_the_same_subject_are_two_people(environment: Environment) -> None:
    one = make_enforced(environment.org)
    other = make_enforced(make_environment("other").org, "other.example")
    assert told(one) != told(other, email="new@other.example")
