"""An operator clears a quarantine group and overrides a prediction, by keyboard; a colleague approves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.builders.browser import SEED_AND_SERVE, Control, Visit, chromium, needs_chromium, running_control, visiting
from tests.fakes.data_plane import FakeServices, fake_services

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(400),
    needs_chromium,
]
PASSWORD = "correct horse battery"
SEED = """
import threading, time
sys.path.insert(0, str(Path(sys.argv[1]).parents[1]))
from tests.builders.reviews import GROUPS, make_queue, make_tasks
from headwater.control.access.members import add_member
from headwater.control.access.queries import get_role
for who in ("ann", "bob"):
    person = create_user(actor=SYSTEM, email=f"{who}@example.com", password="correct horse battery")
    add_member(actor=SYSTEM, org=environment.org, user=person, role=get_role("operator"))
make_queue(environment, GROUPS % "flights" + "instructions: Replay what the new contract takes.\\n", key="refused")
queue = make_queue(environment)
for number in range(3):
    make_tasks(queue, environment, payload={
        "model": "delay", "version": 1, "route": "champion", "predicted_at": "2026-11-24T10:00:00Z",
        "prediction_id": f"prd_{number}", "inputs": {"carrier": "UA", "hour": 7, "origin": "EWR"},
        "outputs": {"score": 0.48 + number / 50},
    })
def work():
    from headwater.control.reviews.tasks import deliver_outcomes, feed_queues
    while True:
        feed_queues(); deliver_outcomes(); time.sleep(0.5)
threading.Thread(target=work, daemon=True).start()
"""
PROGRAM = SEED_AND_SERVE.replace("print(json.dumps(", SEED + "print(json.dumps(")


@pytest.fixture(scope="module")
def services() -> Iterator[FakeServices]:
    with fake_services() as fake:
        fake.fill()
        yield fake


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, services: FakeServices) -> Iterator[Control]:
    home = tmp_path_factory.mktemp("reviews") / "home"
    with running_control(home, services.url, seed=PROGRAM) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def signed_in(visit: Visit, email: str) -> Page:
    page = visit.open("/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state("networkidle")
    return page


def review_of(page: Page) -> str:
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="Review").click()
    page.wait_for_load_state("networkidle")
    return page.url


def test_an_operator_clears_a_group_and_overrides_a_prediction_by_keyboard(
    browser: Browser, control: Control, services: FakeServices
) -> None:
    with visiting(browser, control.url) as visit:
        page = signed_in(visit, "ann@example.com")
        start = review_of(page)
        expect(page.get_by_role("link", name="Refused rows")).to_be_visible(timeout=15_000)
        page.wait_for_timeout(1_500)
        page.reload()
        visit.shoot("review-queues")
        page.get_by_role("link", name="Refused rows").click()
        page.wait_for_url("**/queues/refused/", wait_until="networkidle")
        page.keyboard.press("c")
        expect(page.get_by_role("heading", name="Your decision")).to_be_visible()
        visit.shoot("review-group")
        page.keyboard.press("1")
        expect(page.get_by_label("Replay")).to_be_checked()
        page.keyboard.press("Enter")
        expect(page.get_by_text("Decided. It is carried out")).to_be_visible()
        for _ in range(40):
            if services.verdicts:
                break
            page.wait_for_timeout(250)
        assert services.verdicts[0]["verdict"] == "replay"

        page.goto(start)
        page.get_by_role("link", name="Uncertain delays").click()
        page.wait_for_url("**/queues/uncertain/", wait_until="networkidle")
        page.keyboard.press("c")
        expect(page.get_by_role("heading", name="Your decision")).to_be_visible()
        first = page.url
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("late")
        page.get_by_label("Was it late?").select_option("Yes")
        page.get_by_label("Corrected").fill("0.9")
        page.get_by_label("Comment").fill("The crew timed out")
        visit.shoot("review-prediction")
        page.get_by_role("button", name="Decide").click()
        page.wait_for_url(lambda url: url != first and "/review/tasks/" in url)
        expect(page.get_by_role("heading", name="Your decision")).to_be_visible()
        page.get_by_role("link", name="Overrides").click()
        _reload_until(page, "The crew timed out")
        expect(page.get_by_text("The crew timed out")).to_be_visible()
        assert visit.complaints == []
    _approve_as_bob(browser, control)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_a_phone_and_hide_nothing_from_a_screen_reader(
    browser: Browser, control: Control, scheme: str, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with visiting(browser, control.url, viewport={"width": 390, "height": 844}, color_scheme=scheme) as visit:
        page = signed_in(visit, "bob@example.com")
        page.goto(f"{control.url}/")
        base = page.url
        for path, name in (("review/", "queues"), ("review/queues/uncertain/", "queue"), ("overrides/", "overrides"),
                           ("overrides/new/", "override-new")):  # fmt: skip
            page.goto(base + path, wait_until="networkidle")
            _fits(page, axe, visit, f"phone-{scheme}-review-{name}")
        page.goto(base + "review/queues/uncertain/", wait_until="networkidle")
        page.get_by_role("button", name="Take the next task").click()
        expect(page.get_by_role("heading", name="Your decision")).to_be_visible()
        _fits(page, axe, visit, f"phone-{scheme}-review-task")
        page.set_viewport_size({"width": 1440, "height": 900})
        visit.shoot(f"{scheme}-review-task")
        page.get_by_role("button", name="Give back").click()
        assert visit.complaints == []


def _approve_as_bob(browser: Browser, control: Control) -> None:
    with visiting(browser, control.url) as visit:
        page = signed_in(visit, "bob@example.com")
        page.get_by_role("navigation", name="Sections").get_by_role("link", name="Overrides").click()
        visit.shoot("overrides-waiting")
        page.get_by_role("button", name="Approve").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill("Confirmed with the crew desk")
        dialog.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("in force")).to_be_visible()
        visit.shoot("overrides")
        assert visit.complaints == []


def _reload_until(page: Page, text: str) -> None:
    """Load a page again until it says so: the worker is at it."""
    for _ in range(30):
        if page.get_by_text(text).count():
            return
        page.wait_for_timeout(500)
        page.reload()


def _fits(page: Page, axe: object, visit: Visit, name: str) -> None:
    visit.shoot(name)
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"{page.url} is {wider} pixels too wide"
    found = axe.Axe().run(page).response["violations"]  # type: ignore[attr-defined]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious]
