"""A first start that is killed anywhere is finished by the next one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.builders.system import clean, make_system, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_the_first_password_is_shown_before_everything_is_ready(tmp_path: Path) -> None:
    system = make_system(tmp_path)
    with system.log.open("wb") as log:
        command = system.command("up", "--control-port", "0", "--services-port", "0")
        system.process = subprocess.Popen(command, stdout=log, stderr=log, env=clean())
    wait_for(lambda: "  password  " in system.log.read_text(), 60, "the password")
    assert system.stop(signal.SIGINT) == 0
    log_text = system.log.read_text()
    assert "ready after" not in log_text
    assert "shown on the first start" not in log_text
    password = log_text.split("  password  ")[1].split()[0]
    assert len(password) >= 16
    assert password not in (system.home / "logs" / "up.log").read_text(), "no file may hold it"


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_first_start_that_was_killed_is_finished_by_the_next(tmp_path: Path, phase: int) -> None:
    """The phases are roughly: secrets and migrations, the first organisation and the project, control and worker."""
    system = make_system(tmp_path)
    delay = random.uniform(1.4 * phase, 1.4 * phase + 1.4)
    print(f"killed after {delay:.2f} s")  # noqa: T201 - shown when the test fails
    with system.log.open("wb") as log:
        command = system.command("up", "--control-port", "0", "--services-port", "0")
        system.process = subprocess.Popen(command, stdout=log, stderr=log, env=clean())
    time.sleep(delay)
    system.kill()

    try:
        system.start()
        assert system.send("after", 3).status_code == 200
        assert system.stop(signal.SIGTERM) == 0
    finally:
        if system.process is not None:
            system.process.kill()  # its children follow
    assert json.loads(system.run("audit", "verify", "--json").stdout)["whole"]
    assert "Traceback" not in system.log.read_text()
