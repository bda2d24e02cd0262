"""Dashboards in a real browser over the real system: built from nothing, by keyboard, live, carried away, for all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect
from tests.builders.browser import Visit, chromium, needs_chromium, visiting
from tests.builders.system import System, make_system, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), needs_chromium]
BY_SENSOR = """\
/*
description: Readings by sensor.
parameters:
  sensor: {type: string, description: Only this one}
key: [sensor]
*/
SELECT sensor, count(*) AS readings, sum(n) AS total FROM readings
WHERE $sensor IS NULL OR sensor = $sensor GROUP BY sensor ORDER BY sensor
"""
BOARD = """\
title: Sensors
description: What they sent
filters: [{name: sensor, label: Sensor, values: [seed, live], default: ''}]
tiles:
  - {name: words, kind: text, text: "## Sensors\\n\\nThey **count**. [More](https://example.com)", width: 12, height: 2}
  - {name: total, kind: number, title: Readings, endpoint: totals, value: readings, live: true, width: 4, height: 2}
  - {name: rows, kind: table, title: By sensor, endpoint: by_sensor, live: true, width: 8}
  - name: bars
    kind: chart
    title: Readings by sensor
    endpoint: by_sensor
    parameters: {sensor: {filter: sensor}}
    plot: {mark: bar, x: sensor, y: readings}
"""
SLOW = 30_000
"""Milliseconds until something is there that the machine makes for the first time, such as the charts' script."""
RULES = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


class Running:
    """A system with two endpoints and a dashboard, and the cookies of its owner."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.url = system.state["control_url"]
        log = system.log.read_text()
        self.email, self.password = (log.split(f"  {word}  ")[1].split()[0] for word in ("login   ", "password"))
        self.cookies: Any = None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Running]:
    system = make_system(tmp_path_factory.mktemp("boards"))
    (system.project / "endpoints" / "by_sensor.sql").write_text(BY_SENSOR)
    (system.project / "dashboards").mkdir()
    (system.project / "dashboards" / "sensors.yaml").write_text(BOARD)
    try:
        system.start(within=180)
        wait_for((system.project / "seeded").exists, 60, "the project's commands")
        found = Running(system)
        with visiting(browser, found.url) as visit:
            page = visit.open("/")
            page.locator("[name=login]").fill(found.email)
            page.get_by_role("button", name="Continue").click()
            page.locator("[name=password]").fill(found.password)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_load_state("networkidle")
            found.cookies = page.context.storage_state()
        yield found
    finally:
        if system.process is not None:
            system.stop()


@pytest.fixture
def visit(browser: Browser, running: Running) -> Iterator[Visit]:
    """The owner's browser; whatever it complains about, a refused script or style above all, fails the test."""
    with visiting(browser, running.url, storage_state=running.cookies, accept_downloads=True) as opened:
        yield opened
        assert complaints(opened, running) == []


def complaints(visit: Visit, running: Running) -> list[str]:
    """Return what went wrong, but that live tiles are read elsewhere, and that leaving a page ends requests."""
    services = running.system.state["services_url"]
    return [text for text in visit.complaints if services not in text and "net::ERR_ABORTED" not in text]


def dashboards(visit: Visit) -> Page:
    page = visit.open("/")
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="Dashboards").click()
    page.wait_for_load_state("networkidle")
    return page


def tile(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=name)


def opened(visit: Visit) -> Page:
    visit.page.goto(f"{visit.origin}/o/default/default/development/dashboards/sensors/")
    page = visit.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Sensors")
    return page


def test_a_dashboard_is_built_from_nothing(visit: Visit) -> None:
    page = dashboards(visit)
    page.get_by_role("link", name="New dashboard").click()
    page.locator("#b-title").fill("Built here")
    expect(page.get_by_label("Name in addresses")).to_have_value("built-here")
    page.get_by_role("button", name="Add tile").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Endpoint").select_option("by_sensor")
    expect(dialog.get_by_label("Across (x)")).to_have_value("sensor")
    expect(dialog.get_by_label("Up (y)")).to_have_value("readings")
    expect(dialog.get_by_role("img", name=re.compile("Bar chart of"))).to_be_visible(timeout=SLOW)
    dialog.get_by_label("sensor", exact=True).select_option("+")
    dialog.get_by_label("Title").fill("Bars of it")
    dialog.get_by_role("button", name="Add to the dashboard").click()
    expect(tile(page, "Bars of it").get_by_role("img")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Wider: Bars of it").click()
    expect(page.get_by_role("button", name="Wider: Bars of it")).to_be_focused()
    page.get_by_role("button", name="Add tile").click()
    dialog.get_by_label("Endpoint").select_option("totals")
    dialog.get_by_text("Number", exact=True).click()
    dialog.get_by_label("Title").fill("All of them")
    expect(dialog.locator(".big")).to_be_visible()
    dialog.get_by_role("button", name="Add to the dashboard").click()
    page.get_by_label("What changed").fill("made in a test")
    page.get_by_role("button", name="Save dashboard").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Built here")
    expect(page.get_by_label("Sensor", exact=True)).to_be_visible()
    expect(tile(page, "Bars of it").get_by_role("img", name=re.compile("Bar chart of"))).to_be_visible(timeout=SLOW)
    expect(tile(page, "Bars of it")).to_have_class(re.compile(r"\bw-7\b"))
    page.get_by_role("link", name="Revisions").click()
    expect(page.get_by_role("row", name=re.compile("made in a test"))).to_contain_text("current")


def test_the_keyboard_suffices_to_build_and_arrange(visit: Visit) -> None:
    page = dashboards(visit)
    page.get_by_role("link", name="New dashboard").press("Enter")
    page.locator("#b-title").press_sequentially("By keys")
    expect(page.get_by_role("button", name="Add tile")).to_be_enabled()  # nobody can press what is not ready
    for endpoint in ("totals", "by_sensor"):
        page.get_by_role("button", name="Add tile").press("Enter")
        expect(page.get_by_role("dialog").get_by_label("Endpoint")).to_be_focused()
        page.keyboard.type(endpoint)
        # Typing chooses in a list; a chart or a number is there before the dialog is closed.
        expect(page.get_by_role("dialog").locator(".big, .chart-area canvas, table").first).to_be_visible(timeout=SLOW)
        page.get_by_role("dialog").get_by_role("button", name="Add to the dashboard").press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden()
    names = page.locator("[data-tiles] h2")
    expect(names).to_have_text(["totals", "by-sensor"])
    page.get_by_role("button", name="Move earlier: by-sensor").press("Enter")
    expect(names).to_have_text(["by-sensor", "totals"])
    expect(tile(page, "by-sensor").locator(":focus")).to_have_count(1)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove: totals").press("Enter")
    expect(names).to_have_text(["by-sensor"])
    page.get_by_role("button", name="Save dashboard").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("By keys")


def test_what_is_typed_before_the_script_came_counts(visit: Visit) -> None:
    held: list[Route] = []
    visit.page.route("**/boards/builder*.js", lambda route: held.append(route))  # noqa: PLW0108 - it wants a function
    page = dashboards(visit)
    with page.expect_request("**/boards/builder*.js"):
        page.get_by_role("link", name="New dashboard").click()
    page.locator("#b-title").fill("Typed early")
    page.locator("#b-description").fill("before anything was ready")
    held[0].continue_()
    expect(page.get_by_label("Name in addresses")).to_have_value("typed-early")
    expect(page.locator("#b-description")).to_have_value("before anything was ready")


def test_what_cannot_be_saved_is_named_and_not_lost(visit: Visit) -> None:
    page = dashboards(visit)
    page.get_by_role("link", name="New dashboard").click()
    page.get_by_label("Name in addresses").fill("unfinished")
    page.locator("#b-description").fill("a description that took an hour")
    page.get_by_role("button", name="Save dashboard").click()
    expect(page.get_by_role("alert")).to_contain_text("title")
    expect(page.locator("#b-description")).to_have_value("a description that took an hour")


def test_a_live_tile_moves_while_rows_come_in(visit: Visit, running: Running) -> None:
    page = opened(visit)
    number = tile(page, "Readings").locator(".big")
    expect(number).to_be_visible()
    before = int(number.inner_text().replace(",", ""))
    expect(tile(page, "Readings").locator("[data-live-state].good")).to_be_visible(timeout=SLOW)
    expect(tile(page, "By sensor").locator("[data-live-state].good")).to_be_visible(timeout=SLOW)
    rows = running.system.project / "more.ndjson"
    rows.write_text("".join(f'{{"sensor": "live", "n": {n}}}\n' for n in range(7)))
    running.system.run("ingest", "readings", str(rows))
    expect(number).to_have_text(str(before + 7), timeout=SLOW)
    expect(tile(page, "By sensor").get_by_role("row", name=re.compile("^live 7"))).to_be_visible(timeout=SLOW)


def test_a_filter_changes_tiles_and_the_address(visit: Visit) -> None:
    page = opened(visit)
    expect(tile(page, "Readings by sensor").get_by_role("img")).to_be_visible(timeout=SLOW)
    page.get_by_label("Sensor", exact=True).select_option("seed")
    expect(page).to_have_url(re.compile(r"\?sensor=seed$"))
    expect(tile(page, "Readings by sensor").get_by_role("img", name=re.compile("of 1 row"))).to_be_visible(timeout=SLOW)
    tile(page, "Readings by sensor").get_by_text("Show the 1 row").click()
    expect(tile(page, "Readings by sensor").get_by_role("table")).to_contain_text("seed")
    page.reload(wait_until="load")
    expect(page.get_by_label("Sensor", exact=True)).to_have_value("seed")


@pytest.mark.parametrize(
    ("name", "begins"), [("Picture (PNG)", b"\x89PNG"), ("Drawing (SVG)", b"<svg"), ("Project", b"title")]
)
def test_a_dashboard_is_carried_away(visit: Visit, name: str, begins: bytes) -> None:
    page = opened(visit)
    page.locator(".board-menu summary").click()
    with page.expect_download() as waiting:
        page.locator(".board-menu").get_by_role("link", name=re.compile(re.escape(name))).click()
    content = Path(waiting.value.path()).read_bytes()
    assert content.startswith(begins)
    assert len(content) > (5_000 if begins.startswith(b"\x89") else 100)


def test_a_tile_is_carried_away_as_a_picture_and_as_rows(visit: Visit) -> None:
    page = opened(visit)
    for name, begins in (("Picture (PNG)", b"\x89PNG"), ("Rows (CSV)", b'"sensor","readings"')):
        menu = tile(page, "Readings by sensor").locator(".tile-menu")
        menu.locator("summary").click()
        with page.expect_download() as waiting:
            menu.get_by_role("link", name=name).click()
        assert Path(waiting.value.path()).read_bytes().startswith(begins)
        page.keyboard.press("Escape")


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_dashboards_are_for_everybody(browser: Browser, running: Running, look: str) -> None:
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light"}
    if look == "phone":
        options |= {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
    told: list[str] = []
    with visiting(browser, running.url, storage_state=running.cookies, **options) as visit:
        page = opened(visit)
        expect(tile(page, "Readings by sensor").get_by_role("img")).to_be_visible(timeout=SLOW)
        address = page.url.removeprefix(running.url)
        for path in (address, f"{address}edit/", f"{address}revisions/", address.replace("sensors/", "")):
            page.goto(running.url + path)
            page.wait_for_timeout(800)
            found = Axe().run(page, options=RULES).response["violations"]
            told += [f"{path}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            told += [f"{path} is {wider} pixels too wide"] if wider > 0 else []
            visit.shoot(f"dashboards-{look}-{path.strip('/').rpartition('/')[2]}")
        page.goto(f"{running.url}{address}edit/")
        page.get_by_role("button", name="Add tile").click()
        page.get_by_role("dialog").get_by_label("Endpoint").select_option("by_sensor")
        expect(page.get_by_role("dialog").get_by_role("img")).to_be_visible(timeout=SLOW)
        found = Axe().run(page, options=RULES).response["violations"]
        told += [f"tile dialog: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
        told += complaints(visit, running)
    assert told == []
