"""Journeys of an operations team through the console, over the real system: people, roles, policies, audit."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.builders.browser import Visit, needs_chromium, visiting
from tests.builders.onnx_models import linear
from tests.builders.system import wait_for
from tests.integration.browser.test_console import Running, browser, running, section, visit

__all__ = ["browser", "running", "visit"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.servers,
    pytest.mark.timeout(300),  # the first test starts the system
    needs_chromium,
]
SECRET = "a long enough secret"
SHOPPERS = [f"user-{number}" for number in range(200)]
MODEL = """\
name: score
artifact: model.onnx
license: MIT
inputs:
  - {name: a, logicalType: number, required: true}
  - {name: b, logicalType: number, required: true}
outputs:
  - {name: score, type: number}
"""


def tab(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Parts of").get_by_role("link", name=name, exact=True).click()
    page.wait_for_load_state("networkidle")


def confirm(page: Page, button: str, question: str, reason: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog", name=question)
    dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=button).click()


def change_rules(page: Page, text: str, change: str) -> None:
    """Put the rules of the flag whose page is open, looking at what would change first."""
    page.get_by_role("link", name="Edit rules").click()
    page.get_by_label("Rules").fill(text)
    page.get_by_role("button", name="Show what changes").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(change)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("is changed")


def who_gets_it(running: Running, country: str) -> set[str]:
    """Return to whom of a country the services answer that the flag is on."""
    found = set()
    with running.system.services.http() as http:
        for shopper in SHOPPERS:
            context = {"targetingKey": shopper, "country": country}
            reply = http.post("/ofrep/v1/evaluate/flags/new-checkout", json={"context": context})
            if reply.status_code == httpx.codes.OK and reply.json()["value"] is True:
                found.add(shopper)
    return found


def settled(running: Running, before: set[str]) -> set[str]:
    """Return who gets it in Germany once that is other than before, and the same for all who ask."""

    def found() -> set[str] | None:
        first, second = who_gets_it(running, "DE"), who_gets_it(running, "DE")
        return first if first == second != before else None

    result: set[str] = wait_for(lambda: (now := found()) is not None and [now], 30, "the services' knowing the rules")[
        0
    ]
    return result


def answering(running: Running) -> tuple[int, float] | None:
    """Return which version of the model answers and what, None while none does."""
    with running.system.services.http() as http:
        reply = http.post("/v1/models/score/predict", json={"rows": [{"a": 1.0, "b": 0.0}]})
    if reply.status_code != httpx.codes.OK:
        return None
    document = reply.json()
    return document["version"], document["predictions"][0]["outputs"]["score"]


@pytest.fixture
def colleague(browser: Browser, running: Running) -> Iterator[Visit]:
    """Somebody's browser in which nobody is signed in."""
    with visiting(browser, running.url) as opened:
        yield opened
        assert opened.complaints == []


def test_a_colleague_comes_in_by_invitation_gets_another_role_and_learns_what_it_allows(
    visit: Visit, colleague: Visit, running: Running
) -> None:
    sent = json.loads(running.system.run("users", "invite", "ann@example.com", "--role", "producer", "--json").stdout)
    theirs = colleague.open(sent["link"].removeprefix(running.url))
    expect(theirs.get_by_role("heading", level=1)).to_contain_text("Join")
    theirs.locator("[name=name]").fill("Ann")
    for field in theirs.locator("[type=password]").all():
        field.fill(SECRET)
    theirs.get_by_role("button", name="Create account and join").click()
    theirs.wait_for_load_state("networkidle")
    sections = theirs.get_by_role("navigation", name="Sections")
    expect(sections).to_be_visible()
    expect(sections.get_by_role("link", name="Datasets", exact=True)).to_have_count(0)

    page = visit.open("/")
    section(page, "Team & access")
    page.get_by_role("row", name=re.compile("ann@example.com")).get_by_role("link", name=re.compile("role")).click()
    page.get_by_label("Role").select_option("analyst")
    page.get_by_role("button", name="Change role").click()
    expect(page.get_by_role("status")).to_contain_text("ann@example.com is analyst now")

    theirs = colleague.open("/")
    section(theirs, "Datasets")
    theirs.get_by_role("link", name="readings").click()
    expect(theirs.get_by_role("heading", name="readings")).to_be_visible()

    tab_page = visit.open(page.url.removeprefix(running.url))
    tab(tab_page, "Explain")
    for permission, decision in (("dataset.read", "Yes"), ("flag.write", "No")):
        tab_page.get_by_label("Who").fill("ann@example.com")
        tab_page.get_by_label("Do what").select_option(permission)
        tab_page.get_by_role("button", name="Explain").click()
        expect(tab_page.locator("#answer h2")).to_have_text(decision)
    expect(tab_page.locator("#answer")).to_contain_text("decided by: no grant")


def test_a_role_of_ones_own_is_made_changed_and_replaced(visit: Visit) -> None:
    page = visit.open("/")
    section(page, "Team & access")
    tab(page, "Roles")
    page.get_by_role("link", name="New role").click()
    page.get_by_label("Name").fill("watcher")
    page.get_by_label(re.compile(r"dataset\.read:")).check()
    page.get_by_role("button", name="Create role").click()
    page.get_by_role("link", name="Change watcher").click()
    page.get_by_label(re.compile(r"endpoint\.invoke:")).check()
    page.get_by_role("button", name="Change role").click()
    expect(page.get_by_role("row", name=re.compile("^watcher"))).to_contain_text("invoke")
    tab(page, "Invitations")
    page.get_by_role("link", name="Invite member").click()
    page.get_by_label("E-mail address").fill("watcher@example.com")
    page.get_by_label("Role").select_option("watcher")
    page.get_by_role("button", name="Send invitation").click()
    tab(page, "Roles")
    page.get_by_role("link", name="Remove watcher").click()
    expect(page.get_by_role("listitem").filter(has_text="the invitation of watcher@example.com")).to_be_visible()
    page.get_by_label("Its holders get instead").select_option("analyst")
    page.get_by_role("button", name="Remove role").click()
    expect(page.get_by_role("status")).to_contain_text("The role watcher was removed")
    tab(page, "Invitations")
    expect(page.get_by_role("row", name=re.compile("watcher@example.com"))).to_contain_text("analyst")


def test_a_policy_is_tried_put_in_force_and_decides_what_is_seen(visit: Visit) -> None:
    page = visit.open("/")
    section(page, "Policies")
    page.get_by_role("link", name="New policy").click()
    page.get_by_role("link", name="readings").click()
    page.get_by_label("Name").fill("owners_without_numbers")
    page.get_by_label("Purpose").fill("Numbers are for others")
    page.get_by_label("For whom").fill("role:owner")
    page.get_by_label("Rows").fill("sensr = 'seed'")
    page.get_by_label(re.compile(r"^n\b")).select_option("hide")
    page.get_by_role("button", name="Show what they would see").click()
    expect(page.get_by_role("alert")).to_contain_text("sensr")
    page.get_by_label("Rows").fill("sensor = 'seed'")
    page.get_by_role("button", name="Show what they would see").click()
    expect(page.locator("main")).to_contain_text("rows where sensor = 'seed', n hidden")
    page.get_by_role("button", name="Create policy").click()
    expect(page.get_by_role("status")).to_contain_text("owners_without_numbers is in force")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#answer")).to_contain_text("the policy owners_without_numbers")
    page.get_by_role("link", name="Open the dataset").click()
    page.get_by_role("link", name="Sample rows").click()
    page.wait_for_load_state("networkidle")

    def decided() -> bool:
        page.reload(wait_until="networkidle")
        return "owners_without_numbers" in page.locator("main").inner_text()

    wait_for(decided, 20, "the services' knowing the policy")
    expect(page.get_by_role("columnheader", name="n", exact=True)).to_have_count(0)
    section(page, "Policies")
    page.get_by_role("link", name="dataset:readings").click()
    page.get_by_role("button", name="Archive").click()
    dialog = page.get_by_role("dialog", name="Take this policy out of force?")
    dialog.get_by_label("Reason").fill("a journey's end")
    dialog.get_by_role("button", name="Archive").click()
    expect(page.get_by_role("status")).to_contain_text("is out of force")


def test_the_audit_log_is_searched_and_taken_away(visit: Visit, tmp_path: Path) -> None:
    page = visit.open("/")
    section(page, "Audit")
    page.get_by_label("Action").fill("orgs.")
    expect(page.get_by_role("table")).to_contain_text("orgs.organization.created")
    expect(page.get_by_role("table")).not_to_contain_text("access.key.created")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("CSV")).click()
    target = tmp_path / "audit.csv"
    download.value.save_as(target)
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert {row["action"].partition(".")[0] for row in rows} == {"orgs"}
    numbers = [int(row["n"]) for row in rows]
    assert numbers == sorted(numbers, reverse=True)


def test_a_flag_is_made_rolled_out_to_a_share_and_changes_what_is_served(visit: Visit, running: Running) -> None:
    page = visit.open("/")
    section(page, "Flags")
    page.get_by_role("link", name="New flag").click()
    page.get_by_label("Key").fill("new-checkout")
    page.get_by_label("Owner").fill("shop")
    page.get_by_role("button", name="Create flag").click()
    expect(page.locator(".field", has=page.get_by_label("Remove by"))).to_contain_text("Say by when it is removed")
    page.get_by_label("Remove by").fill("2030-01-31")
    page.get_by_role("button", name="Create flag").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"new-checkout\s+off"))
    expect(page.get_by_role("status")).to_contain_text("new-checkout exists and is off everywhere")

    rule = "default: 'off'\nrules:\n- {when: \"country = 'DE'\", variant: 'on', share: %s}\n"
    change_rules(page, rule % "50%", "50% of")
    assert who_gets_it(running, "DE") == set()
    confirm(page, "Switch on", "Switch it on here?", "half of Germany")
    expect(page.get_by_role("heading", level=1)).to_contain_text("enabled")
    half = settled(running, set())
    assert 50 < len(half) < 150
    assert who_gets_it(running, "FR") == set()

    for shopper, value in ((min(half), "true"), (min(set(SHOPPERS) - half), "false")):
        page.get_by_label("Context").fill(json.dumps({"targetingKey": shopper, "country": "DE"}))
        page.get_by_role("button", name="Evaluate").click()
        expect(page.locator("#tried code")).to_have_text(value)

    change_rules(page, rule % "75%", "75% of")
    most = settled(running, half)
    assert half < most < set(SHOPPERS)
    confirm(page, "Switch off", "Switch it off here?", "enough")
    assert settled(running, most) == set()
    expect(page.get_by_role("table", name="Changes of new-checkout")).to_contain_text("half of Germany")


def test_a_model_version_is_promoted_from_its_page_and_rolled_back(
    visit: Visit, running: Running, tmp_path: Path
) -> None:
    for weight, more in ((1.0, ()), (2.0, ("--hold",))):
        (tmp_path / "model.yaml").write_text(MODEL)
        (tmp_path / "model.onnx").write_bytes(linear([weight, 0.0]))
        running.system.run("models", "push", str(tmp_path), *more)
    wait_for(lambda: answering(running) == (1, 1.0), 30, "the first version's answer")
    page = visit.open("/")
    section(page, "Models")
    page.get_by_role("link", name="score").click()
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)
    page.get_by_role("table", name="Versions of score").get_by_role("link", name="Version 2").click()
    confirm(page, "Promote", "Promote this version?", "twice as good")
    expect(page.get_by_role("status").filter(has_text="answers in development now")).to_be_visible()
    wait_for(lambda: answering(running) == (2, 2.0), 30, "the second version's answer")
    expect(page.get_by_role("button", name="Promote")).to_have_count(0)

    page.get_by_role("link", name="score", exact=True).click()
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("dialog")).to_contain_text("A rollback leads to version 1.")
    page.get_by_role("button", name="Cancel").click()
    confirm(page, "Roll back", "Take back what was rolled out last?", "not that good")
    expect(page.get_by_role("status")).to_contain_text("Version 1 of score answers in development again")
    wait_for(lambda: answering(running) == (1, 1.0), 30, "the first version's answer again")
    expect(page.get_by_role("table", name="Rollouts, newest first")).to_contain_text("not that good")
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)
