"""The console in a real browser over the real system: the main journeys, and every page by eye and by ear."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect
from tests.builders.browser import Visit, chromium, needs_chromium, visiting
from tests.builders.system import System, make_system, wait_for

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),  # the first test starts the system
    needs_chromium,
]
SERIOUS = ("serious", "critical")
RULES = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 800}, "device_scale_factor": 2}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
}


@dataclass(frozen=True)
class Running:
    """A system that serves, who may sign in, and the cookies of having done so."""

    system: System
    url: str
    email: str
    password: str
    cookies: Any


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Running]:
    system = make_system(tmp_path_factory.mktemp("console"))
    try:
        system.start(within=180)
        wait_for((system.project / "seeded").exists, 60, "the project's commands")
        url = system.state["control_url"]
        log = system.log.read_text()
        email, password = (log.split(f"  {word}  ")[1].split()[0] for word in ("login   ", "password"))
        with visiting(browser, url) as visit:
            sign_in(visit, email, password)
            cookies = visit.page.context.storage_state()
        yield Running(system, url, email, password, cookies)
    finally:
        if system.process is not None:
            system.stop()


@pytest.fixture
def visit(browser: Browser, running: Running) -> Iterator[Visit]:
    """The owner's browser, signed in; whatever it complains about fails the test."""
    with visiting(browser, running.url, storage_state=running.cookies) as opened:
        opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield opened
        assert opened.complaints == []


def sign_in(visit: Visit, email: str, password: str) -> None:
    page = visit.open("/")
    page.locator("[name=login]").fill(email)
    page.get_by_role("button", name="Continue").click()
    page.locator("[name=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state("networkidle")


def section(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Sections").get_by_role("link", name=name, exact=True).click()
    page.wait_for_load_state("networkidle")


def linked_pages(visit: Visit) -> list[str]:
    """Return every page of the console that can be reached by links, one of each kind."""
    start = visit.open("/").url.removeprefix(visit.origin)
    waiting, found, kinds = [start], [], set()
    while waiting:
        path = waiting.pop(0)
        kind = re.sub(r"(key|aud|mem|grt|inv|env|gro|gm|dom)_[0-9A-Z]+", "*", path)
        if kind in kinds:
            continue
        kinds.add(kind)
        found.append(path)
        page = visit.open(path)
        links = page.locator("main a[href], nav a[href]").evaluate_all("all => all.map(link => link.pathname)")
        waiting += [link for link in links if link.startswith("/o/") and "/export." not in link]
    return found


def test_a_new_owner_sees_a_dataset_makes_a_key_and_sends_rows_with_the_snippet(visit: Visit, running: Running) -> None:
    page = visit.open("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    section(page, "Keys")
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name", exact=True).fill("laptop")
    page.get_by_label("Name of the new service account").fill("laptop-loader")
    page.get_by_label("Send rows to a dataset").check()
    page.get_by_role("button", name="Create key").click()
    page.get_by_role("button", name="Copy: The key").click()
    secret = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"hw_[a-z2-7]{8}_[a-z2-7]{52}", secret)
    page.get_by_role("link", name="I have copied it").click()
    page.wait_for_load_state("networkidle")
    assert secret not in page.content()
    expect(page.get_by_role("row", name=re.compile("laptop"))).to_contain_text("live")

    section(page, "Datasets")
    page.get_by_role("link", name="readings").click()
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Copy: curl").click()
    command = page.evaluate("navigator.clipboard.readText()")
    environment = {"PATH": os.environ["PATH"], "HEADWATER_API_KEY": secret}

    def sent() -> bool:
        answer = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
        return '"accepted":1' in answer.stdout.replace(" ", "")

    wait_for(sent, 20, "the services' knowing the key")
    page.reload(wait_until="networkidle")
    received = page.locator(".tile", has_text="Accepted").locator("dd")
    expect(received).not_to_have_text("0")


def test_snippets_are_in_the_language_that_was_chosen(visit: Visit) -> None:
    page = visit.open("/")
    section(page, "Datasets")
    page.get_by_role("link", name="readings").click()
    page.get_by_role("tab", name="curl").press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("client.ingest(")
    page.get_by_role("tab", name="TypeScript").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("await fetch(")


def test_an_endpoint_is_tried_and_sample_rows_are_seen(visit: Visit) -> None:
    page = visit.open("/")
    section(page, "Endpoints")
    page.get_by_role("link", name="totals").click()
    page.get_by_label("sensor").fill("seed")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("table", name="Answer")).to_contain_text("1")
    section(page, "Datasets")
    page.get_by_role("link", name="readings").click()
    page.get_by_role("link", name="Sample rows").click()
    expect(page.get_by_role("table", name="Sample rows")).to_contain_text("seed")


def test_a_member_is_invited_and_the_audit_log_tells_of_it(visit: Visit) -> None:
    page = visit.open("/")
    section(page, "Team & access")
    page.get_by_role("link", name="Invite member").click()
    page.get_by_label("E-mail address").fill("not an address")
    page.get_by_role("button", name="Send invitation").click()
    expect(page.locator(".errorlist")).to_contain_text("valid email")
    page.get_by_label("E-mail address").fill("colleague@example.com")
    page.get_by_role("button", name="Send invitation").click()
    expect(page.get_by_role("status")).to_contain_text("colleague@example.com is invited")
    row = page.get_by_role("row", name=re.compile("colleague@example.com"))
    row.get_by_role("button", name="Revoke").click()
    dialog = page.get_by_role("dialog", name="Take this invitation back?")
    dialog.get_by_label("Reason").fill("a slip")
    dialog.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name=re.compile("colleague@example.com"))).to_contain_text("revoked")
    section(page, "Audit")
    page.get_by_role("searchbox").fill("a slip")
    expect(page.get_by_role("table")).to_contain_text("identity.invitation.revoked")
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name="identity.invitation.revoked").click()
    expect(page.get_by_role("table", name="What changed")).to_contain_text("revoked")


def test_access_is_explained(visit: Visit, running: Running) -> None:
    page = visit.open("/")
    section(page, "Team & access")
    page.get_by_role("link", name="Explain").click()
    page.get_by_label("Who").fill("laptop-nobody")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("Nobody here is called")
    page.get_by_label("Who").fill(running.email)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#answer")).to_contain_text("Yes")


def test_the_keyboard_suffices(visit: Visit) -> None:
    page = visit.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator(".switcher summary").press("Enter")
    expect(page.locator(".switcher .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".switcher .panel")).to_be_hidden()
    section(page, "Datasets")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("zzz")
    expect(page.get_by_text("No dataset is called or described so.")).to_be_visible()


def test_the_theme_stays_as_it_was_chosen(visit: Visit) -> None:
    page = visit.open("/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator(".user summary").click()
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload(wait_until="networkidle")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.locator(".user summary").click()
    page.get_by_role("button", name="System").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def test_a_phone_has_the_navigation_behind_a_button(browser: Browser, running: Running) -> None:
    with visiting(browser, running.url, storage_state=running.cookies, **PHONE) as visit:
        page = visit.open("/")
        expect(page.get_by_role("navigation", name="Sections")).to_be_hidden()
        page.get_by_role("button", name="Navigation").click()
        section(page, "Datasets")
        expect(page.get_by_role("heading", name="Datasets")).to_be_visible()
        assert visit.complaints == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_accessible_fits_and_complains_of_nothing(browser: Browser, running: Running, look: str) -> None:
    with visiting(browser, running.url, storage_state=running.cookies, **LOOKS[look]) as visit:
        pages = linked_pages(visit)
        assert len(pages) > 20
        told: list[str] = []
        for path in pages:
            page = visit.open(path)
            found = [] if look == "phone" else Axe().run(page, options=RULES).response["violations"]
            told += [
                f"{path}: {item['id']} ({item['impact']}): {[node['html'][:200] for node in item['nodes'][:3]]}"
                for item in found
                if item["impact"] in SERIOUS
            ]
            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            told += [f"{path} is {wider} pixels too wide"] if wider > 0 else []
            name = re.sub(r"[^a-z]+", "-", path.removeprefix("/o/")).strip("-")
            visit.shoot(f"console-{name}-{look}")
        assert told == []
        assert visit.complaints == []
