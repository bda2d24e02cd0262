"""Every page around an account in a real browser: narrow, in the dark, and without a serious fault of access."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect
from tests.builders.authenticator_app import shown_by_app
from tests.builders.browser import Visit, chromium, needs_chromium, running_control, visiting

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
from headwater.control.access.members import add_member
from headwater.control.access.queries import get_role
from headwater.control.identity.actions import create_user
from headwater.control.identity.invitations import invite
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Organization
org = Organization.unscoped.get()
user = create_user(actor=SYSTEM, email="ada@example.com", password=sys.argv[1], name="Ada")
add_member(actor=SYSTEM, org=org, user=user, role=get_role("owner"))
_, token = invite(actor=SYSTEM, org=org, email="new@example.com", role=get_role("analyst"))
print(json.dumps({"email": token, "password": first.admin_password}), flush=True)
server.serve(settings)
"""
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@dataclass(frozen=True)
class Place:
    """A running control process, and a link that somebody was mailed."""

    url: str
    token: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("account") / "home"
    with running_control(home, "http://127.0.0.1:9", seed=SEED, argument=PASSWORD) as control:
        yield Place(control.url, control.email)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def look(visit: Visit, name: str) -> None:
    """Hold a page against axe-core and the width of the screen, and keep a picture."""
    visit.shoot(f"account-{name}")
    assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
    found = Axe().run(visit.page).response
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == [], name


def sign_in(visit: Visit) -> None:
    page = visit.open("/accounts/login/")
    page.get_by_label("Email").fill("ada@example.com")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/accounts/login" not in url)


@pytest.mark.parametrize("name", list(LOOKS))
def test_pages_of_somebody_who_is_not_signed_in(browser: Browser, place: Place, name: str) -> None:
    pages = {
        "login": "/accounts/login/",
        "recovery": "/accounts/login/?recovery=yes",
        "reset": "/accounts/password/reset/",
        "reset-sent": "/accounts/password/reset/done/",
        "reset-bad-link": "/accounts/password/reset/key/1-abc-0/",
        "reset-finished": "/accounts/password/reset/key/done/",
        "signup-closed": "/accounts/signup/",
        "verification-sent": "/accounts/confirm-email/",
        "bad-confirmation": "/accounts/confirm-email/nonsense/",
        "inactive": "/accounts/inactive/",
        "invitation": f"/accounts/invitations/{place.token}/",
        "invitation-gone": "/accounts/invitations/forged/",
        "cancelled": "/accounts/connections/cancelled/",
    }
    with visiting(browser, place.url, **LOOKS[name]) as visit:
        for title, path in pages.items():
            visit.open(path)
            look(visit, f"{title}-{name}")
        visit.open("/accounts/login/").get_by_label("Email").fill("ada@example.com")
        visit.page.get_by_role("button", name="Continue").click()
        visit.page.get_by_label("Password").fill("wrong")
        visit.page.get_by_role("button", name="Sign in").click()
        expect(visit.page.get_by_text("not correct")).to_be_visible()
        look(visit, f"password-wrong-{name}")


def test_somebody_adds_a_second_factor_and_comes_in_with_it(browser: Browser, place: Place) -> None:
    for name, options in LOOKS.items():
        with visiting(browser, place.url, **options) as visit:
            sign_in(visit)
            for title, path in {
                "sessions": "/accounts/sessions/",
                "password": "/accounts/password/change/",
                "connections": "/accounts/connections/",
                "factor": "/accounts/2fa/",
                "logout": "/accounts/logout/",
                "again": "/accounts/2fa/totp/activate/",
            }.items():
                visit.open(path)
                look(visit, f"{title}-{name}")
            visit.page.get_by_label("Password").fill(PASSWORD)
            visit.page.get_by_role("button", name="Confirm").click()
            visit.page.wait_for_url("**/totp/activate/")
            look(visit, f"factor-add-{name}")
    with visiting(browser, place.url) as visit:
        sign_in(visit)
        page = visit.open("/accounts/2fa/totp/activate/")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url("**/totp/activate/")
        page.get_by_text("You cannot scan it?").click()
        secret = page.locator("details code").inner_text()
        page.get_by_label("code").fill(shown_by_app(secret))
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_text("shown this once")).to_be_visible()
        code = page.locator("pre.codes").inner_text().split()[0]
        look(visit, "recovery-codes")
        visit.open("/accounts/2fa/")
        look(visit, "factor-there")
        visit.open("/accounts/2fa/recovery-codes/generate/")
        look(visit, "recovery-codes-new")
        visit.open("/accounts/2fa/totp/deactivate/")
        look(visit, "factor-remove")
        assert visit.complaints == []
    with visiting(browser, place.url) as visit:
        page = visit.open("/accounts/login/")
        page.get_by_label("Email").fill("ada@example.com")
        page.get_by_role("button", name="Continue").click()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Your second factor")).to_be_visible()
        look(visit, "challenge")
        page.get_by_label("code").fill(code)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(re.compile("^(?!.*/2fa/).*$"))
        visit.open("/accounts/sessions/")
        expect(page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
