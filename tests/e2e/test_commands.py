"""The commands against the running system, as a person would use them."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from tests.builders.system import DATASET, System, clean, is_running, make_system, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_a_file_is_loaded_with_exact_counts_and_only_once(system: System, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("sensor,n\n" + "".join(f"loaded,{n}\n" for n in range(2_500)) + "loaded,-1\n")

    first = system.run("ingest", "readings", str(path), "--batch-rows", "1000", "--json", check=False)
    again = system.run("ingest", "readings", str(path), "--batch-rows", "1000", "--json", check=False)

    counts = {name: json.loads(first.stdout)["counts"][name] for name in ("received", "accepted", "quarantined")}
    assert counts == {"received": 2_501, "accepted": 2_500, "quarantined": 1}
    assert first.returncode == again.returncode == 1
    assert json.loads(again.stdout)["already_loaded"] == 2_501
    wait_for(lambda: system.total("loaded") == 2_500, 10, "the rows")


def test_an_endpoint_answers_a_pipe_with_csv(system: System) -> None:
    system.send("piped", 4)
    wait_for(lambda: system.total("piped") == 4, 10, "the rows")

    written = system.run("query", "totals", "sensor=piped").stdout
    assert list(csv.reader(written.splitlines())) == [["readings", "total"], ["4", "6"]]


def test_an_applied_change_is_served_within_a_second(system: System) -> None:
    path = system.project / "endpoints" / "biggest.sql"
    path.write_text("/*\ndescription: The biggest reading.\n*/\nSELECT max(n) AS biggest FROM readings\n")
    planned = json.loads(system.run("plan", "--json").stdout)
    assert {(one["name"], one["action"]) for one in planned["changes"]} >= {("biggest", "create")}

    system.run("apply")
    applied = time.monotonic()

    def served() -> bool:
        with system.services.http() as http:
            return http.get("/v1/endpoints/biggest").status_code == httpx.codes.OK

    wait_for(served, 5, "the new endpoint")
    assert time.monotonic() - applied < 1.0


def test_a_project_with_an_error_changes_nothing_and_names_the_place(system: System) -> None:
    path = system.project / "datasets" / "broken.yaml"
    path.write_text(DATASET.replace("integer", "intger").replace("readings", "broken"))
    try:
        outcome = system.run("apply", check=False)
    finally:
        path.unlink()

    assert outcome.returncode == 1
    assert "datasets/broken.yaml" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "broken" not in system.run("datasets").stdout


def test_the_doctor_finds_a_running_system_well(system: System) -> None:
    report = json.loads(system.run("doctor", "--json").stdout)

    assert report["healthy"] is True
    subjects = {finding["subject"] for finding in report["findings"]}
    assert subjects >= {"versions", "home", "secrets", "disk", "processes", "control", "services", "sealer"}


def test_the_audit_log_is_whole(system: System) -> None:
    system.run("keys", "create", "audited", "--role", "consumer")

    report = json.loads(system.run("audit", "verify", "--json").stdout)

    assert report["whole"] is True
    assert sum(chain["events"] for chain in report["chains"]) > 5


def test_a_new_administrator_can_sign_in(system: System) -> None:
    made = json.loads(system.run("users", "create-admin", "--email", "ops@example.com", "--json").stdout)

    with httpx.Client(base_url=system.state["control_url"], follow_redirects=True) as browser:
        browser.get("/accounts/login/")
        form = {"login": made["email"], "password": made["password"]}
        token = browser.cookies["hw_csrf"]
        page = browser.post("/accounts/login/", data={**form, "csrfmiddlewaretoken": token, "next": "/admin/"})

    assert page.status_code == httpx.codes.OK
    assert page.url.path == "/admin/"


def test_a_project_that_cannot_be_applied_does_not_keep_the_system_down(tmp_path: Path) -> None:
    other = make_system(tmp_path)
    (other.project / "datasets" / "readings.yaml").write_text("kind: nothing\n")
    other.start()
    try:
        wait_for(lambda: "the project was not applied" in other.log.read_text(), 5, "the words about it")
        assert "datasets/readings.yaml" in other.log.read_text()
    finally:
        assert other.stop() == 0


def test_a_set_up_that_fails_says_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    other = make_system(tmp_path)
    (other.home / "control.sqlite3").mkdir(parents=True)
    ports = ["--control-port", "0", "--services-port", "0"]
    with other.log.open("wb") as log:
        process = subprocess.Popen(other.command("up", *ports), stdout=log, stderr=log, env=clean())
    pids: set[int] = set()
    while process.poll() is None:
        pids |= {one["pid"] for one in other.state.get("processes", {}).values()}
        time.sleep(0.05)

    assert process.returncode == 1
    assert "error: the set-up failed: the control database cannot be used" in other.log.read_text()
    assert pids
    assert not any(map(is_running, pids))
