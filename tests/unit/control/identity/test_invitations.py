from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.utils import timezone
from tests.builders.control import PASSWORD, events, make_member, make_user
from tests.builders.sign_on import make_enforced

from headwater.control.access.authority import has_permission
from headwater.control.access.queries import actor_for_user, get_role
from headwater.control.identity.invitations import accept, find, invite, renew, revoke, send
from headwater.control.identity.models import Invitation, User
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment, Membership
from headwater.core.errors import HeadwaterError

EMAIL = "new@example.com"


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Host": "127.0.0.1"})


def invited(environment: Environment, email: str = EMAIL) -> tuple[Invitation, str]:
    return invite(actor=SYSTEM, org=environment.org, email=email, role=get_role("analyst"))


def path(token: str) -> str:
    return f"/accounts/invitations/{token}/"


def refused(reply: Any) -> bool:
    return reply.status_code in (404, 409) and b"cannot be used" in reply.content


def test_somebody_new_takes_an_invitation_up(browser: Client, environment: Environment, owner: Actor) -> None:
    invitation, token = invite(actor=owner, org=environment.org, email=" New@Example.com ", role=get_role("analyst"))
    send(invitation, token)
    (sent,) = mail.outbox
    assert sent.to == [EMAIL]
    assert f"/accounts/invitations/{token}/" in sent.body
    assert b"analyst" in browser.get(path(token)).content
    reply = browser.post(path(token), {"name": "Nia", "password": PASSWORD})
    assert reply.status_code == 302
    user = User.objects.get(email=EMAIL)
    assert browser.session["_auth_user_id"] == str(user.pk)
    assert EmailAddress.objects.get(user=user).verified, "the link arrived there"
    assert has_permission(user, "dataset.read", environment)
    assert not has_permission(user, "dataset.write", environment)
    (event,) = events(environment.org, "identity.invitation.accepted")
    assert event.actor_label == EMAIL
    assert token not in event.after_json + event.before_json


def test_a_link_opens_once(browser: Client, environment: Environment) -> None:
    _, token = invited(environment)
    browser.post(path(token), {"password": PASSWORD})
    other = Client(headers={"Host": "127.0.0.1"})
    assert refused(other.get(path(token)))
    assert refused(other.post(path(token), {"password": "another long password"}))
    assert Membership.objects.for_org(environment.org).filter(user__email=EMAIL).count() == 1


def test_a_forged_cut_or_replaced_link_opens_nothing(environment: Environment) -> None:
    invitation, token = invited(environment)
    _, newer = renew(actor=SYSTEM, invitation=invitation)
    for bad in ("", "x", token, newer[:-1], newer[:-3] + "aaa", newer.replace(":", "%3A"), "\x00"):
        with pytest.raises(HeadwaterError, match="cannot be used"):
            find(bad)
    assert find(newer).pk == invitation.pk


def test_an_expired_link_opens_nothing(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    invitation, token = invited(environment)
    later = timezone.now() + timedelta(days=7, seconds=1)
    monkeypatch.setattr(timezone, "now", lambda: later)
    with pytest.raises(HeadwaterError, match="cannot be used"):
        find(token)
    with pytest.raises(HeadwaterError, match="expired"):
        accept(actor=SYSTEM, invitation=invitation, user=make_user(EMAIL))


def test_a_revoked_invitation_opens_nothing(browser: Client, environment: Environment) -> None:
    invitation, token = invited(environment)
    revoke(actor=SYSTEM, invitation=invitation, reason="a mistake")
    assert refused(browser.post(path(token), {"password": PASSWORD}))
    assert not User.objects.filter(email=EMAIL).exists()
    invited(environment)


def test_somebody_with_an_account_signs_in_and_joins(browser: Client, environment: Environment) -> None:
    user = make_user(EMAIL)
    _, token = invited(environment)
    page = browser.get(path(token))
    assert b"You have an account here" in page.content
    browser.post(path(token), {"password": "tried to make another"})
    assert not Membership.objects.for_org(environment.org).filter(user=user).exists(), "the link alone is not enough"
    browser.force_login(user)
    assert browser.post(path(token)).status_code == 302
    assert Membership.objects.for_org(environment.org).get(user=user).source == "invite"


def test_a_forwarded_link_does_not_let_somebody_else_in(browser: Client, environment: Environment) -> None:
    _, token = invited(environment)
    other = make_user("other@example.com")
    browser.force_login(other)
    assert b"other@example.com" in browser.post(path(token)).content
    assert not Membership.objects.for_org(environment.org).filter(user=other).exists()
    with pytest.raises(HeadwaterError, match="another address"):
        accept(actor=actor_for_user(other), invitation=find(token), user=other)


def test_a_role_that_holds_more_than_the_inviter_is_refused(environment: Environment) -> None:
    admin = actor_for_user(make_member(environment.org, "admin").user)
    with pytest.raises(HeadwaterError) as caught:
        invite(actor=admin, org=environment.org, email=EMAIL, role=get_role("owner"))
    assert caught.value.code == "forbidden"
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    with pytest.raises(HeadwaterError) as caught:
        invite(actor=analyst, org=environment.org, email=EMAIL, role=get_role("analyst"))
    assert caught.value.code == "forbidden"


def test_members_are_not_invited_again_and_the_suspended_do_not_come_back_that_way(environment: Environment) -> None:
    member = make_member(environment.org, "analyst", make_user(EMAIL))
    with pytest.raises(HeadwaterError, match="member already"):
        invited(environment)
    assert member.user.email == EMAIL
    invited(environment, "two@example.com")
    with pytest.raises(HeadwaterError, match="invited already"):
        invited(environment, "TWO@example.com")


def test_an_invited_address_of_an_enforced_domain_makes_no_password(browser: Client, environment: Environment) -> None:
    make_enforced(environment.org)
    _, token = invited(environment)
    page = browser.get(path(token))
    assert b'type="password"' not in page.content
    browser.post(path(token), {"password": PASSWORD})
    assert not User.objects.filter(email=EMAIL).exists()


def test_a_mail_that_cannot_be_sent_leaves_the_invitation(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: object, **_: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    invitation, token = invited(environment)
    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    with pytest.raises(HeadwaterError) as caught:
        send(invitation, token)
    assert caught.value.code == "mail_unavailable"
    assert Invitation.unscoped.get().sent_at is None
    assert find(token).pk == invitation.pk


def test_the_address_of_an_invitation_reaches_nobody_else(browser: Client, environment: Environment) -> None:
    _, token = invited(environment)
    reply = browser.get(path(token))
    assert reply.headers["Referrer-Policy"] == "same-origin"
    assert "no-store" in reply.headers["Cache-Control"]
