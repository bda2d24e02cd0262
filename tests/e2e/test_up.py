"""``headwater up``: everything works together, survives what it must survive, and stops cleanly."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from tests.builders.system import Services, System, clean, is_running, make_system, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def seen(services: Services, sensor: str, rows: int) -> bool:
    return services.total(sensor) == rows


PROCESSES = {"control", "services", "sealer", "worker", "valkey"}


def test_everything_runs_and_what_is_needed_is_shown(system: System) -> None:
    assert set(system.pids) == PROCESSES
    admin = f"admin     {system.state['control_url']}/admin/"
    wait_for(lambda: admin in system.log.read_text(), 5, "the words at ready")
    wait_for(lambda: system.log.read_text().count("try it:") >= len(system.starts), 5, "the last of them")
    log = system.log.read_text()
    assert re.search(r"ready after \d+\.\d s, \d+ MB resident: .*services \d+ MB", log)
    assert log.count("  password  (shown on the first start") == len(system.starts) - 1


def test_the_shown_line_works_when_pasted(system: System) -> None:
    wait_for(lambda: system.log.read_text().count("try it:") >= len(system.starts), 5, "the words at ready")
    shown = system.log.read_text().rsplit("try it:", 1)[1]
    line = next(line for line in shown.splitlines() if line.strip().startswith("curl"))

    outcome = subprocess.run(line.strip(), shell=True, capture_output=True, text=True, check=True)

    assert "readings" in json.loads(outcome.stdout)["data"][0]


def test_the_projects_own_commands_ran_with_its_key_and_addresses(system: System) -> None:
    marker = system.project / "seeded"
    wait_for(marker.exists, 20, "the command")

    assert marker.read_text() == str(system.home)
    wait_for(lambda: system.total("seed") == 1, 10, "the row")


def test_a_row_can_be_queried_within_two_seconds_of_its_acknowledgement(system: System) -> None:
    reply = system.send("fresh", 10)
    assert reply.status_code == 200, reply.text
    began = time.monotonic()

    wait_for(lambda: system.total("fresh") == 10, 10, "the rows")

    assert time.monotonic() - began < 2.0


def test_secrets_are_their_owners_alone(system: System) -> None:
    for name in ("run/demo.key", "run/node.token", "run/snapshot.key", "run/django.secret", "control.sqlite3"):
        assert stat.S_IMODE((system.home / name).stat().st_mode) == 0o600, name
    assert "password" not in (system.home / "logs" / "up.log").read_text()


def test_a_second_up_on_the_same_home_is_refused(system: System) -> None:
    assert system.process is not None

    outcome = system.run("up", "--control-port", "0", "--services-port", "0", check=False)

    assert outcome.returncode == 1
    assert "home_in_use" in outcome.stderr
    assert f"pid {system.process.pid}" in outcome.stderr
    assert set(system.pids) == PROCESSES


def test_a_taken_port_is_named_before_anything_starts(system: System, tmp_path: Path) -> None:
    other = make_system(tmp_path)
    port = system.state["control_url"].rpartition(":")[2]

    outcome = other.run("up", "--control-port", port, "--services-port", "0", check=False)

    assert outcome.returncode == 1
    assert f"port {port}" in outcome.stderr
    assert "--control-port" in outcome.stderr
    assert not (other.home / "control.sqlite3").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    other = make_system(tmp_path)
    other.home = tmp_path / "file" / "home"

    outcome = other.run("up", check=False)

    assert outcome.returncode == 1
    assert "home_unusable" in outcome.stderr
    assert "--home" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_home_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    other = make_system(tmp_path)
    other.home.mkdir()
    (other.home / "FORMAT").write_text("2\n")

    outcome = other.run("up", check=False)

    assert outcome.returncode == 1
    assert "use the newer Headwater" in outcome.stderr
    assert [path.name for path in other.home.iterdir()] == ["FORMAT"]


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_killed_process_comes_back_and_nothing_is_lost(system: System, name: str) -> None:
    assert system.send(f"before_{name}", 5).status_code == 200
    before = system.pids[name]

    os.kill(before, signal.SIGKILL)

    wait_for(lambda: system.pids[name] != before and system.state["processes"][name]["ready"], 30, f"the new {name}")
    assert system.send(f"before_{name}", 5).headers["idempotency-replayed"] == "true"
    assert system.send(f"after_{name}", 3).status_code == 200
    wait_for(lambda: system.total(f"before_{name}") == 5 and system.total(f"after_{name}") == 3, 10, "the rows")


def test_a_key_made_while_everything_runs_opens_and_closes_within_a_second(system: System) -> None:
    made = json.loads(system.run("keys", "create", "pipeline", "--role", "producer", "--json").stdout)

    wait_for(lambda: system.send("keyed", 1, key=made["key"]).status_code == 200, 1.5, "acceptance")
    with Services(system.state["services_url"], made["key"]).http() as http:
        assert http.get("/v1/endpoints/totals").status_code in {403, 404}
    system.run("keys", "revoke", made["id"])
    revoked = time.monotonic()
    wait_for(lambda: system.send("keyed", 1, key=made["key"]).status_code == 401, 3, "refusal")
    assert time.monotonic() - revoked < 1.0
    listed = json.loads(system.run("keys", "list", "--json").stdout)["keys"]
    assert {key["id"]: key["state"] for key in listed}[made["id"]] == "revoked"


def test_a_key_made_while_nothing_runs_works_later(system: System) -> None:
    assert system.stop() == 0

    made = json.loads(system.run("keys", "create", "offline", "--role", "producer", "--json").stdout)
    system.start()

    assert system.send("offline", 2, key=made["key"]).status_code == 200


def test_sigterm_stops_everything_cleanly(system: System) -> None:
    pids = system.pids

    assert system.stop(signal.SIGTERM) == 0

    assert not any(map(is_running, pids.values()))
    assert system.state == {}
    stopped = [line.split()[-1] for line in system.log.read_text().splitlines() if "│ stopping " in line][-5:]
    assert stopped == ["services", "sealer", "worker", "control", "valkey"]


def test_a_killed_supervisor_leaves_nothing_that_hinders_the_next(system: System) -> None:
    assert system.send("orphaned", 4).status_code == 200
    pids = system.pids
    assert system.process is not None

    system.process.kill()
    system.process.wait()
    system.process = None
    system.start()

    assert not any(map(is_running, pids.values()))
    wait_for(lambda: system.total("orphaned") == 4, 10, "the rows")


@pytest.mark.parametrize("delay", [0.3, 1.0, 2.5])
def test_ctrl_c_while_everything_starts_leaves_nothing_behind(tmp_path: Path, delay: float) -> None:
    other = make_system(tmp_path)
    ports = ["--control-port", "0", "--services-port", "0"]
    with other.log.open("wb") as log:
        other.process = subprocess.Popen(other.command("up", *ports), stdout=log, stderr=log, env=clean())
    time.sleep(delay)
    pids = list(other.pids.values()) if other.state else []

    assert other.stop(signal.SIGINT) in {0, 130, -signal.SIGINT}

    assert not any(map(is_running, pids))
    assert "Traceback" not in other.log.read_text()


def test_the_data_plane_goes_on_without_control_and_its_database_even_when_restarted(system: System) -> None:
    assert system.stop() == 0
    database = system.home / "control.sqlite3"
    hidden = database.rename(database.with_suffix(".hidden"))
    try:
        for sensor in ("alone", "alone_again"):
            with system.data_plane_alone() as services:
                assert services.send(sensor, 3).status_code == 200
                wait_for(partial(seen, services, sensor, 3), 10, "the rows")
    finally:
        hidden.rename(database)
    system.start()
    assert system.total("alone") + system.total("alone_again") == 6


def test_the_worker_relays_what_waits_in_the_outbox(system: System) -> None:
    system.run("keys", "create", "relayed", "--role", "producer")
    with sqlite3.connect(f"file:{system.home}/control.sqlite3?mode=ro", uri=True) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%outbox'").fetchall()
        assert len(tables) == 1
        (table,) = tables[0]

        def waiting() -> int:
            query = f"SELECT count(*) FROM {table} WHERE published_at IS NULL"
            return int(database.execute(query).fetchone()[0])

        wait_for(lambda: waiting() == 0, 15, "the relay")
    database.close()
