"""What people try at a sign-in page."""

from __future__ import annotations

import re
import statistics
import time
from datetime import timedelta
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client, override_settings
from django.utils import timezone
from tests.builders.control import PASSWORD, make_member, make_user
from tests.builders.http import Api
from tests.builders.sign_on import make_session

from headwater.control import configuration
from headwater.control.audit.models import AuditEvent
from headwater.control.identity.actions import create_user
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment

LOGIN = "/accounts/login/"
RESET = "/accounts/password/reset/"


@pytest.fixture
def browser() -> Client:
    return Client(headers={"Host": "127.0.0.1"})


@pytest.fixture
def ada(db: None) -> User:
    return create_user(actor=SYSTEM, email="ada@example.com", password=PASSWORD)


def sign_in(browser: Client, email: str = "ada@example.com", password: str = PASSWORD, **more: str) -> Any:
    return browser.post(LOGIN, {"login": email, "password": password, **more})


def is_in(browser: Client) -> bool:
    return "_auth_user_id" in browser.session


def without_tokens(page: bytes) -> str:
    return re.sub(r'(value|nonce|content)="[^"]*"', "", page.decode())


def test_a_session_given_beforehand_is_not_the_one_signed_in(browser: Client, ada: User) -> None:
    session = browser.session
    session["planted"] = True
    session.save()
    planted = str(session.session_key)
    browser.cookies["hw_session"] = planted
    sign_in(browser)
    assert browser.session.session_key != planted
    other = Client(headers={"Host": "127.0.0.1"})
    other.cookies["hw_session"] = planted
    assert other.get("/accounts/sessions/").status_code == 302


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "http:evil.example",
        "javascript:alert(1)",
        "\thttps://evil.example/",
        "https://127.0.0.1@evil.example/",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in_or_out(browser: Client, ada: User, target: str) -> None:
    page = browser.get(LOGIN, {"next": target})
    assert "evil" not in page.content.decode()
    reply = sign_in(browser, next=target)
    assert reply.headers["Location"] == "/"
    reply = browser.post("/accounts/logout/", {"next": target})
    assert reply.headers["Location"] == LOGIN


def test_signing_in_and_out_needs_our_own_form(ada: User) -> None:
    strict = Client(headers={"Host": "127.0.0.1"}, enforce_csrf_checks=True)
    assert sign_in(strict).status_code == 403
    assert strict.post(LOGIN, {"login": "ada@example.com"}).status_code == 403
    strict.force_login(ada)
    assert strict.post("/accounts/logout/").status_code == 403
    assert strict.post("/accounts/sessions/", {"session": "others"}).status_code == 403
    strict.get("/accounts/logout/")
    assert is_in(strict)


def test_guessing_locks_the_account_for_a_while_and_is_audited(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        assert b"not correct" in sign_in(browser, password="wrong").content
    assert b"Too many failed" in sign_in(browser).content, "not even the right one"
    assert not is_in(browser)
    (event,) = AuditEvent.objects.filter(action="identity.account.locked")
    assert event.target_id == ada.public_id
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    assert sign_in(browser).status_code == 302


def test_guessing_slowly_locks_the_account_for_the_day(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.time()
    for number in range(20):
        monkeypatch.setattr(time, "time", lambda number=number: start + 61 * number * 2)
        sign_in(browser, password="wrong")
    monkeypatch.setattr(time, "time", lambda: start + 61 * 2 * 20 + 600)
    assert b"Too many failed" in sign_in(browser).content
    monkeypatch.setattr(time, "time", lambda: start + 24 * 3600 + 3600)
    assert sign_in(browser).status_code == 302


def test_a_reset_password_opens_a_locked_account(browser: Client, ada: User) -> None:
    for _ in range(6):
        sign_in(browser, password="wrong")
    browser.post(RESET, {"email": "ada@example.com"})
    link = next(word for word in mail.outbox[0].body.split() if "/reset/key/" in word)
    page = browser.get(link.partition("127.0.0.1")[2], follow=True)
    new = {"password1": "quite another one", "password2": "quite another one"}
    browser.post(page.redirect_chain[-1][0], new)
    assert sign_in(browser, password="quite another one").status_code == 302


def test_one_address_cannot_try_everybody(browser: Client, db: None) -> None:
    replies = [sign_in(browser, f"nobody{number}@example.com", "wrong") for number in range(31)]
    assert b"Too many" in replies[-1].content or replies[-1].status_code == 429


def test_the_count_is_kept_where_every_process_sees_it(ada: User) -> None:
    from headwater.control.identity.models import CacheEntry

    cache.set("anything", 1)
    assert CacheEntry.objects.filter(cache_key__contains="anything").exists()


def test_words_do_not_tell_who_has_an_account(browser: Client, ada: User) -> None:
    known, unknown = (sign_in(browser, email, "wrong") for email in ("ada@example.com", "eve@example.com"))
    assert without_tokens(known.content) == without_tokens(unknown.content)
    known, unknown = (browser.post(LOGIN, {"login": email}) for email in ("ada@example.com", "eve@example.com"))
    assert without_tokens(known.content) == without_tokens(unknown.content)
    known, unknown = (browser.post(RESET, {"email": email}) for email in ("ada@example.com", "eve@example.com"))
    assert (known.status_code, known.headers["Location"]) == (unknown.status_code, unknown.headers["Location"])
    assert [one.to for one in mail.outbox] == [["ada@example.com"], ["eve@example.com"]]


def test_time_does_not_tell_who_has_an_account(browser: Client, ada: User) -> None:
    from django.contrib.auth import authenticate
    from django.contrib.auth.hashers import Argon2PasswordHasher

    cheap = Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost
    Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost = 2, 20_000
    try:
        ada.set_password(PASSWORD)
        ada.save()
        times: dict[str, list[float]] = {"ada@example.com": [], "eve@example.com": []}
        for _ in range(7):
            for email, taken in times.items():
                started = time.perf_counter()
                assert authenticate(None, email=email, password="wrong") is None
                taken.append(time.perf_counter() - started)
    finally:
        Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost = cheap
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert 0.5 < unknown / known < 2, f"{unknown:.4f} s for nobody, {known:.4f} s for somebody"


def test_a_mail_server_that_is_away_does_not_tell_who_has_an_account(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: object, **_: object) -> None:
        raise SMTPServerDisconnected("gone")

    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    codes = {browser.post(RESET, {"email": email}).status_code for email in ("ada@example.com", "eve@example.com")}
    assert codes == {302}


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Host": "127.0.0.1@evil.example"}])
def test_a_host_that_is_not_ours_gets_no_mail_sent(ada: User, header: dict[str, str]) -> None:
    reply = Client(headers=header).post(RESET, {"email": "ada@example.com"})
    assert reply.status_code == 400
    assert mail.outbox == []


def test_a_forwarded_host_does_not_reach_the_mail(ada: User) -> None:
    poisoned = Client(
        headers={"Host": "127.0.0.1", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    )
    poisoned.post(RESET, {"email": "ada@example.com"})
    assert "http://127.0.0.1/" in mail.outbox[0].body
    assert "evil" not in mail.outbox[0].body


def test_the_configured_address_wins_over_whatever_host_is_allowed(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    given = configuration.current()
    control = given.control.model_copy(update={"url": "https://console.example.org"})
    monkeypatch.setattr(configuration, "current", lambda: given.model_copy(update={"control": control}))
    with override_settings(ALLOWED_HOSTS=["*"]):
        Client(headers={"Host": "evil.example"}).post(RESET, {"email": "ada@example.com"})
    assert "https://console.example.org/accounts/password/reset/key/" in mail.outbox[0].body
    assert "evil" not in mail.outbox[0].body


def test_a_changed_password_ends_every_other_session(browser: Client, ada: User) -> None:
    other = Client(headers={"Host": "127.0.0.1"})
    sign_in(browser)
    sign_in(other)
    new = {"oldpassword": PASSWORD, "password1": "quite another one", "password2": "quite another one"}
    browser.post("/accounts/password/change/", new)
    assert browser.get("/accounts/sessions/").status_code == 200
    assert other.get("/accounts/sessions/").status_code == 302
    assert browser.get("/accounts/sessions/").content.count(b"<li>") == 1


def test_people_end_their_own_sessions_and_nobody_elses(browser: Client, ada: User) -> None:
    sign_in(browser)
    mine, theirs = make_session(ada), make_session(make_user())
    assert browser.post("/accounts/sessions/", {"session": str(theirs.pk)}).status_code == 404
    assert theirs.exists()
    assert browser.post("/accounts/sessions/", {"session": str(mine.pk)}).status_code == 302
    assert not mine.exists()
    (event,) = AuditEvent.objects.filter(action="identity.session.ended")
    assert event.after == {"ended": ["192.0.2.7 Mozilla/5.0 (X11; Linux) Firefox/140.0"]}


def test_what_a_browser_calls_itself_is_shown_as_text(ada: User) -> None:
    marked = Client(headers={"Host": "127.0.0.1", "User-Agent": "<script>alert(1)</script> \u202e Firefox/1"})
    sign_in(marked)
    page = marked.get("/accounts/sessions/").content.decode()
    assert "<script>alert" not in page
    assert "Firefox" in page


def test_the_address_typed_is_shown_as_text(browser: Client, db: None) -> None:
    page = sign_in(browser, '"><script>alert(1)</script>@example.com', "x").content.decode()
    assert "<script>alert" not in page
    page = browser.get(LOGIN, {"email": '"><script>alert(1)</script>'}).content.decode()
    assert "<script>alert" not in page


def test_an_idle_reset_link_dies(browser: Client, ada: User) -> None:
    browser.post(RESET, {"email": "ada@example.com"})
    link = next(word for word in mail.outbox[0].body.split() if "/reset/key/" in word)
    sign_in(browser)
    assert b"has expired" in browser.get(link.partition("127.0.0.1")[2], follow=True).content, "a sign-in spends it"


def test_sessions_over_the_api(browser: Client, environment: Environment, ada: User) -> None:
    make_member(environment.org, "analyst", ada)
    sign_in(browser)
    other = make_session(ada)
    api = Api(browser)
    answer = api.get("/me/sessions")
    assert [line["is_current"] for line in answer.body["items"]].count(True) == 1
    assert api("DELETE", f"/me/sessions/{other.pk}").status == 204
    theirs = make_session(make_user())
    assert api("DELETE", f"/me/sessions/{theirs.pk}").status == 404
    assert theirs.last_seen_at < timezone.now() + timedelta(seconds=1)
