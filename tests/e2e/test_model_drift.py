"""A model sees other data than it was trained on: the alert is raised, and shows wherever people look."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect
from tests.builders.browser import Visit, chromium, needs_chromium, visiting
from tests.builders.onnx_models import linear
from tests.builders.system import System, make_system, wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.browser,
    pytest.mark.timeout(300),
    needs_chromium,
]

MODEL = """\
name: late
description: How likely a flight leaves late
artifact: model.onnx
license: Apache-2.0
inputs:
  - {name: hour, logicalType: number, required: true, logicalTypeOptions: {minimum: 0, maximum: 24}}
  - {name: distance, logicalType: number, required: true}
outputs:
  - {name: score, type: number}
training: {dataset: readings, version: 1, code: 0f3c}
reference: reference.csv
serving:
  monitor: {psi: 0.2, min_rows: 200, raise_after: 1, clear_after: 2}
"""
VERSION = "/v1/models/late/versions/1"


def calm(generator: random.Random) -> dict[str, float]:
    """Return a flight as there were some in training: by day."""
    return {"hour": float(min(24, max(0, generator.gauss(11, 3)))), "distance": generator.uniform(100, 2_500)}


def night(generator: random.Random) -> dict[str, float]:
    """Return a flight of another time table: by night."""
    return {"hour": float(min(24, max(0, generator.gauss(20, 2)))), "distance": generator.uniform(100, 2_500)}


def score(row: dict[str, float]) -> float:
    return 0.02 * row["hour"] + 0.0001 * row["distance"]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole system, with a model that has a reference."""
    made = make_system(tmp_path_factory.mktemp("drift"))
    directory = made.project / "models" / "late"
    directory.mkdir(parents=True)
    (directory / "model.yaml").write_text(MODEL)
    (directory / "model.onnx").write_bytes(linear([0.02, 0.0001]))
    generator = random.Random(1)
    with (directory / "reference.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["hour", "distance", "score"])
        writer.writeheader()
        for row in (calm(generator) for _ in range(3_000)):
            writer.writerow(row | {"score": score(row)})
    made.start()
    try:
        made.run("apply")
        wait_for(lambda: served(made), 30, "the model")
        yield made
    finally:
        if made.process is not None:
            made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def served(system: System) -> bool:
    with system.services.http() as http:
        return http.get(f"{VERSION}/report").status_code == httpx.codes.OK


def predict(system: System, rows: list[dict[str, float]]) -> list[str]:
    """Ask for predictions, ten rows at a time, and return their ids."""
    ids: list[str] = []
    with system.services.http() as http:
        for start in range(0, len(rows), 10):
            reply = http.post("/v1/models/late/predict", json={"rows": rows[start : start + 10]})
            assert reply.status_code == httpx.codes.OK, reply.text
            ids += [one["id"] for one in reply.json()["predictions"]]
    return ids


def alerts(system: System) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {system.key}"}
    reply = httpx.get(f"{system.state['control_url']}/api/v1/alerts", headers=headers, timeout=10)
    assert reply.status_code == httpx.codes.OK, reply.text
    found: list[dict[str, Any]] = reply.json()["items"]
    return found


def judged(system: System) -> datetime:
    """Return when the version was judged last."""
    headers = {"Authorization": f"Bearer {system.key}"}
    url = f"{system.state['control_url']}/api/v1/models/late/versions/1/report"
    found = httpx.get(url, headers=headers, timeout=30).json()["judged_at"]
    return datetime.fromisoformat(found) if found else datetime.fromtimestamp(0, UTC)


def sign_in(visit: Visit, system: System) -> None:
    name = f"ops{len(system.starts)}{random.randrange(10**9)}@example.com"
    made = json.loads(system.run("users", "create-admin", "--email", name, "--json").stdout)
    page = visit.open("/accounts/login/")
    page.get_by_label("Email").fill(made["email"])
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Password").fill(made["password"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state("networkidle")


def test_a_shifted_stream_raises_the_alert_and_shows_on_the_page_of_the_version(
    system: System, browser: Browser, tmp_path: Path
) -> None:
    generator = random.Random(2)
    rows = [calm(generator) for _ in range(1_000)]
    ids = predict(system, rows)
    outcomes = [
        {"prediction_id": name, "outcome": score(row) * 1.2 > generator.random()}
        for name, row in zip(ids, rows, strict=True)
    ]
    with system.services.http() as http:
        assert http.post("/v1/predictions/outcomes", json=outcomes).json()["counts"]["accepted"] == len(outcomes)
        assert http.post("/v1/models/late/predict", json={"rows": [{"hour": "noon"}]}).status_code == 422
    sent = datetime.now(UTC)
    wait_for(lambda: judged(system) > sent, 75, "an evaluation of the calm stream")
    assert alerts(system) == []

    predict(system, [night(generator) for _ in range(2_000)])
    wait_for(lambda: alerts(system), 75, "the alert")

    raised = {(alert["metric"], alert["field"]): alert for alert in alerts(system)}
    assert ("psi", "hour") in raised
    assert ("psi", "distance") not in raised
    assert raised["psi", "hour"]["latest"] > 0.2
    rows_are_found(system, raised["psi", "hour"])
    with visiting(browser, system.state["control_url"]) as visit:
        sign_in(visit, system)
        look_at_the_report(visit)
        assert visit.complaints == []
    for name, options in (
        ("dark-model-report", {"color_scheme": "dark"}),
        ("phone-model-report", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}),
    ):
        with visiting(browser, system.state["control_url"], **options) as visit:
            sign_in(visit, system)
            visit.open("/admin/")
            visit.page.locator("#alerts").get_by_role("link", name="late v1").first.click()
            visit.page.wait_for_load_state("networkidle")
            visit.shoot(name)
            assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            assert visit.complaints == []
    files_stand_alone(system, browser, tmp_path)


def rows_are_found(system: System, alert: dict[str, Any]) -> None:
    """Run the alert's own query."""
    made = json.loads(system.run("keys", "create", "looks", "--role", "owner", "--json").stdout)

    def found() -> list[dict[str, Any]]:
        with httpx.Client(headers={"Authorization": f"Bearer {made['key']}"}, timeout=10) as http:
            reply = http.post(f"{system.state['services_url']}/v1/sql", json={"sql": alert["rows"]["sql"]})
        if reply.status_code != httpx.codes.OK:
            assert reply.status_code in (401, 403, 422), reply.text  # the key is not known yet, or the table not sealed
            return []
        data: list[dict[str, Any]] = reply.json()["data"]
        return data

    rows = wait_for(found, 60, "rows by the alert's query")
    assert {"prediction_id", "input_hour"} <= set(rows[0])
    assert all(row["input_hour"] > 12 for row in rows)


def look_at_the_report(visit: Visit) -> None:
    """Go from the operator's home by the alert to the report, and look at each part of it."""
    page = visit.open("/admin/")
    expect(page.get_by_text("Model alerts").first).to_be_visible()
    visit.shoot("admin-home-alert")
    page.locator("#alerts").get_by_role("link", name="late v1").first.click()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text(re.compile("PSI of input hour is")).first).to_be_visible()
    for heading in ("Traffic", "Inputs", "Outputs", "Drift over time", "Performance", "Alerts"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    # Traffic, latency, two inputs, an output, drift over time: each drawn by the server, and each visible.
    drawings = page.locator("figure svg")
    assert drawings.count() >= 6
    for at in range(drawings.count()):
        box = drawings.nth(at).bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["height"] > 50
    first = page.locator("#inputs tbody tr").first
    expect(first).to_contain_text("hour")
    expect(first).to_contain_text("drifted")
    page.get_by_text("Look at rows").first.click()
    expect(page.get_by_text("predictions_late").first).to_be_visible()
    visit.shoot("model-report")
    page.get_by_role("link", name="1h").click()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text(re.compile("PSI of input hour is")).first).to_be_visible()
    page.get_by_role("link", name="version 1").click()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text(re.compile("PSI of input hour is")).first).to_be_visible()
    visit.shoot("model-version-alert")
    visit.open("/admin/registry/model/")
    expect(page.locator("#result_list .hw-bad").first).to_be_visible()
    visit.shoot("models-alert")


def files_stand_alone(system: System, browser: Browser, tmp_path: Path) -> None:
    """Write the report to files with the command, and open the HTML without any server."""
    system.run("models", "report", "late", "-o", str(tmp_path / "report.html"))
    system.run("models", "report", "late:1", "-o", str(tmp_path / "report.png"))
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "alert: psi of input hour" in system.run("models", "report", "late").stdout
    for scheme in ("light", "dark"):
        with visiting(browser, f"file://{tmp_path}", color_scheme=scheme) as visit:
            page = visit.open("/report.html")
            expect(page.get_by_text(re.compile("PSI of input hour is")).first).to_be_visible()
            visit.shoot(f"{scheme}-report-file")
            assert visit.complaints == []
