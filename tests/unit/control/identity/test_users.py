from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import identify_hasher
from django.core import mail
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from tests.builders.control import PASSWORD, make_environment, make_member, make_owner, make_user

from headwater.control.access.authority import has_permission
from headwater.control.audit.models import AuditEvent
from headwater.control.audit.record import PLATFORM
from headwater.control.identity.actions import create_user, deactivate_user, set_password
from headwater.control.identity.failures import note_failure, report_failures
from headwater.control.identity.models import FailedLogins, User
from headwater.control.kit.actions import SYSTEM
from headwater.core.errors import HeadwaterError


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Host": "127.0.0.1"})


@pytest.fixture
def ada(db: None) -> User:
    return create_user(actor=SYSTEM, email="ada@example.com", password=PASSWORD)


def log_in(browser: Client, email: str, password: str) -> Any:
    return browser.post("/accounts/login/", {"login": email, "password": password})


def last_event() -> AuditEvent:
    return AuditEvent.objects.filter(org_id=PLATFORM).order_by("-n")[0]


def test_addresses_are_unique_whatever_their_case(ada: User) -> None:
    assert create_user(actor=SYSTEM, email=" Bob@Example.COM ").email == "bob@example.com"
    with pytest.raises(HeadwaterError) as caught:
        create_user(actor=SYSTEM, email="ADA@example.com")
    assert caught.value.code == "conflict"
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.bulk_create([User(email="ADA@EXAMPLE.COM")])


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a b@example.com"])
def test_what_is_no_address_is_refused(db: None, email: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        create_user(actor=SYSTEM, email=email)
    assert caught.value.code == "invalid_parameter"


@pytest.mark.parametrize("password", ["short", "password1234", "ada@example.com"])
def test_a_weak_password_is_refused(ada: User, password: str) -> None:
    with pytest.raises(HeadwaterError, match="the password") as caught:
        set_password(actor=SYSTEM, user=ada, password=password)
    assert caught.value.code == "invalid_parameter"
    assert ada.check_password(PASSWORD)


def test_passwords_are_hashed_with_argon2_and_never_audited(ada: User) -> None:
    assert identify_hasher(ada.password).algorithm == "argon2"
    for event in AuditEvent.objects.all():
        assert "argon2" not in event.after_json
        assert PASSWORD not in event.after_json


def test_logging_in_works_by_e_mail_alone_and_is_audited(browser: Client, ada: User) -> None:
    assert log_in(browser, "ada@example.com", "wrong").status_code == 200
    assert log_in(browser, "Ada@Example.com", PASSWORD).status_code == 302
    event = last_event()
    assert (event.action, event.actor_label, event.ip) == ("identity.user.logged_in", "ada@example.com", "127.0.0.1")


def failures() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="identity.user.login_failed").order_by("n"))


def test_failed_logins_are_audited_once_a_minute_with_their_number(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        log_in(browser, "Ada@example.com", "wrong password")
    (first,) = failures()
    assert (first.target_id, first.target_label, first.ip) == (ada.public_id, "ada@example.com", "127.0.0.1")
    assert first.after == {"failures": 1, "addresses": ["127.0.0.1"]}
    assert report_failures() == 0

    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert report_failures() == 1
    assert report_failures() == 0
    assert [event.after["failures"] for event in failures()] == [1, 3]


def test_the_next_failure_reports_those_before_it(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        note_failure(ada)
    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr(timezone, "now", lambda: later)
    note_failure(ada)
    assert [event.after["failures"] for event in failures()] == [1, 3]


def test_tries_at_accounts_that_do_not_exist_share_one_row_and_keep_nothing_typed(browser: Client, ada: User) -> None:
    for number in range(4):
        log_in(browser, f"my-secret-{number}@example.com", "wrong password")
    (event,) = failures()
    assert (event.target_id, event.after["failures"]) == ("unknown", 1)
    assert not any("my-secret" in str(vars(one)) for one in AuditEvent.objects.all())
    assert FailedLogins.objects.get().count == 3


def test_counts_that_are_reported_and_old_are_let_go(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    note_failure(ada)
    later = timezone.now() + timedelta(days=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert report_failures() == 0
    assert not FailedLogins.objects.exists()


def test_who_is_deactivated_cannot_log_in(browser: Client, ada: User) -> None:
    deactivate_user(actor=SYSTEM, user=ada, reason="left")
    log_in(browser, "ada@example.com", PASSWORD)
    assert "_auth_user_id" not in browser.session


def test_the_last_owner_cannot_be_deactivated(db: None) -> None:
    environment = make_environment()
    owner = make_owner(environment.org)
    with pytest.raises(HeadwaterError, match="without an owner"):
        deactivate_user(actor=SYSTEM, user=owner.subject, reason="left")
    owner.subject.refresh_from_db()
    assert owner.subject.is_active
    make_member(environment.org, "owner")
    deactivate_user(actor=SYSTEM, user=owner.subject, reason="left")
    assert not has_permission(owner.subject, "dataset.read", environment)


def test_people_change_their_own_password_and_it_is_audited(browser: Client, ada: User) -> None:
    log_in(browser, "ada@example.com", PASSWORD)
    new = {"oldpassword": PASSWORD, "password1": "quite another one", "password2": "quite another one"}
    assert browser.post("/accounts/password/change/", new).status_code == 302
    ada.refresh_from_db()
    assert ada.check_password("quite another one")
    event = AuditEvent.objects.get(action="identity.user.password_changed")
    assert event.actor_id == ada.public_id
    assert event.after == {"password": "[redacted]"}


def test_a_forgotten_password_is_reset_by_mail(browser: Client, ada: User) -> None:
    assert browser.post("/accounts/password/reset/", {"email": "ada@example.com"}).status_code == 302
    link = next(word for word in mail.outbox[0].body.split() if "/accounts/password/reset/key/" in word)
    page = browser.get(link.partition("127.0.0.1")[2], follow=True)
    form = {"password1": "quite another one", "password2": "quite another one"}
    browser.post(page.redirect_chain[-1][0], form)
    ada.refresh_from_db()
    assert ada.check_password("quite another one")


def test_nobody_signs_up_and_only_the_pages_we_offer_exist(browser: Client, db: None) -> None:
    form = {"email": "eve@example.com", "password1": PASSWORD}
    browser.post("/accounts/signup/", form)
    assert not User.objects.filter(email="eve@example.com").exists()
    for name in ("account_email", "account_confirm_email"):
        with pytest.raises(NoReverseMatch):
            reverse(name)


def test_staff_who_are_not_logged_in_are_sent_to_the_one_login_page(browser: Client, db: None) -> None:
    reply = browser.get("/admin/", follow=True)
    assert reply.redirect_chain[-1][0].startswith("/accounts/login/?next=")
    admin = make_user("root@example.com", is_admin=True)
    browser.force_login(admin, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert browser.get("/admin/").status_code == 200
