"""The console in a real browser: it works, and it asks nothing of anybody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from tests.builders.browser import Control, Visit, chromium, needs_chromium, running_control, visiting
from tests.fakes.data_plane import FakeServices, fake_services

pytestmark = [
    pytest.mark.browser,
    needs_chromium,
]


@pytest.fixture(scope="module")
def services() -> Iterator[FakeServices]:
    with fake_services() as fake:
        fake.fill()
        yield fake


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, services: FakeServices) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("console") / "home", services.url) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, control: Control) -> Iterator[Visit]:
    """A stranger's browser; whatever it complains about fails the test."""
    with visiting(browser, control.url) as opened:
        yield opened
        assert opened.complaints == []


@pytest.fixture
def operator(visit: Visit, control: Control) -> Visit:
    """The browser of the administrator, signed in."""
    sign_in(visit, control.email, control.password)
    return visit


def sign_in(visit: Visit, email: str, password: str) -> None:
    page = visit.open("/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state("networkidle")


def test_signing_in_leads_to_the_overview(visit: Visit, control: Control) -> None:
    page = visit.open("/")
    expect(page).to_have_title(re.compile("Sign in"))
    visit.shoot("login")
    page.get_by_label("Email").fill(control.email)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("main")).to_contain_text("not correct")
    visit.shoot("login-refused")
    sign_in(visit, control.email, control.password)
    expect(page.get_by_role("navigation", name="Sections")).to_be_visible()
    visit.open("/admin/")
    expect(page.get_by_role("heading", name="Datasets")).to_be_visible()
    expect(page.get_by_text("1,000").first).to_be_visible()
    visit.shoot("admin-home")


def test_a_dataset_is_looked_at_and_its_quarantine_replayed(operator: Visit, services: FakeServices) -> None:
    services.fill()
    page = operator.open("/admin/")
    page.get_by_role("link", name="flights", exact=True).first.click()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text("4 open")).to_be_visible()
    expect(page.get_by_text("<script>alert(1)</script>")).to_be_visible()
    operator.shoot("dataset")
    page.get_by_role("link", name="Replay").click()
    page.get_by_label("Reason").fill("The contract was mended")
    operator.shoot("replay")
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("The group was replayed: 4 received, 4 accepted")).to_be_visible()
    assert services.verdicts[-1]["verdict"] == "replay"
    expect(page.get_by_text("resolved").first).to_be_visible()
    operator.shoot("dataset-replayed")


def test_a_key_is_shown_once(operator: Visit) -> None:
    page = operator.open("/admin/access/apikey/")
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name").fill("Laptop")
    page.get_by_label("Environment").select_option(label="default/development")
    operator.shoot("key-form")
    page.get_by_role("button", name="Create key").click()
    secret = page.locator("#secret").inner_text()
    assert re.fullmatch(r"hw_[a-z2-7]{8}_[a-z2-7]{52}", secret)
    operator.shoot("key-secret")
    page.get_by_role("link", name="I have copied it").click()
    page.wait_for_load_state("networkidle")
    assert secret not in page.content()
    expect(page.get_by_text("Laptop")).to_be_visible()
    operator.shoot("keys")


def test_every_part_of_the_navigation_opens(operator: Visit) -> None:
    page = operator.open("/admin/")
    links = page.locator("#nav-sidebar-apps a").evaluate_all("found => found.map(link => link.getAttribute('href'))")
    assert len(links) > 15
    for link in links:
        operator.open(link)
        assert page.locator("#content").is_visible()
    operator.shoot("outbox")


def test_endpoints_contracts_and_the_audit_log_are_shown(operator: Visit) -> None:
    page = operator.open("/admin/catalog/endpoint/")
    operator.shoot("endpoints")
    page.get_by_role("link", name="delay_by_carrier").first.click()
    expect(page.get_by_text("SELECT").first).to_be_visible()
    operator.shoot("endpoint")
    page = operator.open("/admin/audit/auditevent/")
    operator.shoot("audit")
    page.get_by_role("link", name="Verify chain").click()
    expect(page.get_by_text("the chain is whole").first).to_be_visible()
    page.locator("#result_list tbody a").first.click()
    page.wait_for_load_state("networkidle")
    operator.shoot("audit-event")
    operator.open("/admin/catalog/contractversion/")
    page.locator("#result_list tbody a").first.click()
    page.wait_for_load_state("networkidle")
    operator.shoot("contract")


def test_the_admin_is_readable_in_the_dark_and_on_a_phone(browser: Browser, control: Control) -> None:
    with visiting(
        browser, control.url, color_scheme="dark", viewport={"width": 390, "height": 844}, device_scale_factor=2
    ) as visit:
        visit.open("/accounts/login/")
        visit.shoot("phone-dark-login")
        sign_in(visit, control.email, control.password)
        visit.open("/admin/")
        visit.shoot("phone-dark-home")
        page = visit.page
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0
        page.get_by_role("link", name="flights", exact=True).first.click()
        page.wait_for_load_state("networkidle")
        visit.shoot("phone-dark-dataset")
        assert visit.complaints == []
    with visiting(browser, control.url, color_scheme="dark") as visit:
        sign_in(visit, control.email, control.password)
        visit.open("/admin/")
        visit.shoot("dark-home")
        assert visit.complaints == []


def test_no_page_is_wider_than_the_screen(browser: Browser, control: Control) -> None:
    with visiting(browser, control.url, viewport={"width": 360, "height": 800}) as visit:
        sign_in(visit, control.email, control.password)
        for model in ("catalog/contractversion", "catalog/endpoint", "snapshots/snapshot", "audit/auditevent"):
            visit.open(f"/admin/{model}/")
            visit.page.locator("#result_list tbody a").first.click()
            visit.page.wait_for_load_state("networkidle")
            assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, model
    with visiting(browser, control.url, viewport={"width": 1360, "height": 800}) as visit:
        sign_in(visit, control.email, control.password)
        visit.open("/admin/")
        wider = "found => found.map(table => table.scrollWidth - table.clientWidth)"
        assert max(visit.page.locator(".hw-scroll").evaluate_all(wider)) <= 0


def test_the_home_says_when_the_services_are_away(
    operator: Visit, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> tuple[int, dict[str, str]]:
        return 500, {}

    monkeypatch.setattr(services, "answer", refuse)
    page = operator.open("/admin/")
    expect(page.get_by_text("The data services are away.")).to_be_visible()
    operator.shoot("services-away")


def test_the_documentation_of_the_api_works_without_a_network(operator: Visit) -> None:
    page = operator.open("/api/v1/docs")
    expect(page.get_by_text("Headwater control API")).to_be_visible()
    page.get_by_text("/api/v1/apply").click()
    expect(page.get_by_text("Change an environment to what a project directory declares").first).to_be_visible()
    operator.shoot("api-docs")


def test_somebody_who_belongs_nowhere_is_told_what_to_do(visit: Visit) -> None:
    sign_in(visit, "person@example.com", "correct horse battery")
    page = visit.page
    expect(page.get_by_role("heading", name="No organisation has you as a member yet")).to_be_visible()
    visit.shoot("home")
    visit.open("/accounts/password/change/")
    visit.shoot("password-change")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/accounts/login/"))
