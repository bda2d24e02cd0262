"""Single sign-on with a real identity provider and a real browser: login, enforcement, logout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.builders.browser import Visit, chromium, needs_chromium, running_control, visiting
from tests.builders.identity_provider import CLIENT_ID, CLIENT_SECRET, Issuer, free_issuer, running_issuer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.servers,
    pytest.mark.timeout(300),
    needs_chromium,
]
PASSWORD = "correct horse battery"
SEED = """
import json, sys
from pathlib import Path
from headwater.core.settings import load_settings
from headwater.control import bootstrap, server
settings = load_settings(file=Path("/nonexistent"))
first = bootstrap.bootstrap(settings)
told = json.loads(sys.argv[1])
from headwater.control.access.members import add_member
from headwater.control.access.queries import get_role
from headwater.control.identity.actions import create_user
from headwater.control.kit.actions import SYSTEM
from headwater.control.kit.sealing import seal
from headwater.control.orgs.models import Organization
from headwater.control.sso import actions
from headwater.control.sso.models import IdentityProvider
org = Organization.unscoped.get()
for name in ("owner", "kept"):
    user = create_user(actor=SYSTEM, email=f"{name}@example.com", password=told["password"], name=name.title())
    member = add_member(actor=SYSTEM, org=org, user=user, role=get_role("owner"))
actions.name_recovery_owner(actor=SYSTEM, membership=member, reason="the day it is away")
domain = actions.claim_domain(actor=SYSTEM, org=org, name="example.com")
actions.verify_domain(actor=SYSTEM, domain=domain, resolve=lambda _name: [domain.record_value])
# The issuer starts once it knows where to answer to, so it cannot be asked yet.
actions.discover = lambda _issuer: {}
provider = actions.create_provider(
    actor=SYSTEM, org=org, name="Example ID", issuer=told["issuer"], client_id=told["client_id"],
    client_secret=told["client_secret"], default_role=get_role("analyst"),
)
print(json.dumps({"email": provider.public_id, "password": first.admin_password}), flush=True)
server.serve(settings)
"""


@dataclass(frozen=True)
class Setting:
    """A running control process with an identity provider behind it."""

    url: str
    provider: str
    issuer: Issuer


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    home, issuer = tmp_path_factory.mktemp("sso") / "home", free_issuer()
    told = {"issuer": issuer.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "password": PASSWORD}
    with running_control(
        home, "http://127.0.0.1:9", seed=SEED, argument=json.dumps(told), IDENTITY__LOOPBACK_ISSUERS="true"
    ) as control:
        callback = f"{control.url}/accounts/oidc/{control.email}/login/callback/"
        with running_issuer(issuer, control.url, callback):
            yield Setting(control.url, control.email, issuer)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, setting: Setting) -> Iterator[Visit]:
    with visiting(browser, setting.url) as page:
        yield page


def give_email(visit: Visit, email: str) -> Page:
    page = visit.open("/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Continue").click()
    return page


def by_password(visit: Visit, email: str) -> Page:
    page = give_email(visit, email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    return page


def at_issuer(page: Page, setting: Setting, login: str) -> None:
    """Fill in the identity provider's own pages."""
    page.route(re.compile("fonts"), lambda route: route.abort())  # the provider's page would wait for them
    page.wait_for_url(re.compile(re.escape(setting.issuer.url)), wait_until="domcontentloaded")
    if page.locator("input[name=login]").count():
        page.locator("input[name=login]").fill(login)
        page.locator("input[name=password]").fill("any")
        page.locator("button[type=submit]").click()
    page.wait_for_load_state("networkidle")
    if page.url.startswith(setting.issuer.url) and "/interaction/" in page.url:
        page.locator("button[type=submit]").click()


def change(page: Page, setting: Setting, **values: Any) -> None:
    """Change the provider over the control API, with the session of the browser at hand."""
    token = next(cookie["value"] for cookie in page.context.cookies() if cookie.get("name") == "hw_csrf")
    answer = page.context.request.patch(
        f"{setting.url}/api/v1/organizations/default/identity-providers/{setting.provider}",
        data=values,
        headers={"X-CSRFToken": token, "Origin": setting.url},
    )
    assert answer.status == 200, answer.text()


def complaints_of_ours(visit: Visit) -> list[str]:
    """Return what our own policy refused or a script of ours did wrong; the provider's pages are its own affair."""
    return [line for line in visit.complaints if "Content Security Policy" in line or line.startswith("script error")]


def test_people_sign_in_through_their_organisations_provider_and_out_again(visit: Visit, setting: Setting) -> None:
    page = give_email(visit, "new@example.com")
    visit.shoot("login-password-or-provider")
    page.get_by_role("link", name="Continue with Example ID").click()
    at_issuer(page, setting, "new@example.com")
    page.wait_for_url(re.compile(re.escape(setting.url)))
    visit.open("/accounts/connections/")
    expect(page.get_by_text("new@example.com").first).to_be_visible()
    visit.shoot("connections")

    visit.open("/accounts/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile(re.escape(setting.issuer.url)))
    page.get_by_role("button", name=re.compile("Yes", re.IGNORECASE)).click()
    page.wait_for_url(f"{setting.url}/accounts/login/**")
    page = give_email(visit, "new@example.com")
    page.get_by_role("link", name="Continue with Example ID").click()
    page.wait_for_url(re.compile(re.escape(setting.issuer.url)))
    expect(page.locator("input[name=login]")).to_be_visible()
    assert complaints_of_ours(visit) == []


def test_enforcement_ends_sessions_and_closes_every_other_way(browser: Browser, visit: Visit, setting: Setting) -> None:
    page = by_password(visit, "owner@example.com")
    page.wait_for_url(lambda url: "/accounts/login" not in url)
    change(page, setting, enforced=True)
    visit.open("/accounts/sessions/")
    assert "/accounts/login/" in page.url, "the session from before has ended"
    with visiting(browser, setting.url) as other:
        opened = give_email(other, "owner@example.com")
        at_issuer(opened, setting, "owner@example.com")
        opened.wait_for_url(re.compile(re.escape(setting.url)))
        other.open("/accounts/sessions/")
        expect(opened.get_by_role("heading", name="Where you are signed in")).to_be_visible()
        other.shoot("sessions")
    with visiting(browser, setting.url) as third:
        opened = third.open("/accounts/login/?recovery=yes")
        opened.get_by_label("Email").fill("kept@example.com")
        opened.get_by_role("button", name="Continue").click()
        opened.get_by_label("Password").fill(PASSWORD)
        opened.get_by_role("button", name="Sign in").click()
        opened.wait_for_url(lambda url: "/accounts/login" not in url)
        change(opened, setting, enforced=False)


def test_the_provider_does_not_speak_for_other_domains(visit: Visit, setting: Setting) -> None:
    page = give_email(visit, "new@example.com")
    page.get_by_role("link", name="Continue with Example ID").click()
    at_issuer(page, setting, "admin@default.localhost")
    expect(page.get_by_role("heading", name="You were not signed in")).to_be_visible()
    expect(page.get_by_text("does not speak for admin@default.localhost")).to_be_visible()
    visit.shoot("sign-in-refused")
    visit.open("/accounts/sessions/")
    assert "/accounts/login/" in page.url


def test_an_answer_nobody_asked_for_is_not_taken(visit: Visit, setting: Setting) -> None:
    callback = f"/accounts/oidc/{setting.provider}/login/callback/"
    page = visit.open(f"{callback}?code=stolen&state=forged")
    expect(page.get_by_role("heading", name="You were not signed in")).to_be_visible()
    visit.open("/accounts/sessions/")
    assert "/accounts/login/" in page.url
