"""A tiny project, and the whole system started over it in a temporary home: through the command line alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

DATASET = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
name: readings
version: 1.0.0
status: active
schema:
  - name: readings
    logicalType: object
    properties:
      - {name: sensor, logicalType: string, required: true}
      - {name: n, logicalType: integer, required: true, logicalTypeOptions: {minimum: 0}}
"""
ENDPOINT = """\
/*
description: How many readings a sensor has sent, and their sum.
parameters:
  sensor: {type: string}
*/
SELECT count(*) AS readings, coalesce(sum(n), 0) AS total
FROM readings WHERE $sensor IS NULL OR sensor = $sensor
"""
START_SECONDS = 60.0


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true result of ``condition``."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


@dataclass(frozen=True)
class Services:
    """The services at an address, asked with a key."""

    url: str
    key: str

    def http(self) -> httpx.Client:
        """Return a connection."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=10)

    def is_ready(self) -> bool:
        """Return whether they are ready."""
        try:
            with self.http() as http:
                return http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def total(self, sensor: str) -> int:
        """Return what the endpoint says a sensor has sent."""
        with self.http() as http:
            reply = http.get("/v1/endpoints/totals", params={"sensor": sensor})
        assert reply.status_code == httpx.codes.OK, reply.text
        return int(reply.json()["data"][0]["readings"])

    def send(self, sensor: str, rows: int) -> httpx.Response:
        """Send rows of a sensor, under one idempotency key a sensor."""
        body = [{"sensor": sensor, "n": n} for n in range(rows)]
        with self.http() as http:
            return http.post("/v1/datasets/readings/rows", json=body, headers={"Idempotency-Key": sensor})


@dataclass
class System:
    """One home, and the ``headwater up`` that runs on it, if it does."""

    home: Path
    project: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)

    def command(self, *words: str, project: bool = True) -> list[str]:
        """Return a command line for this home."""
        place = ["--home", str(self.home), *(["--project", str(self.project)] if project else [])]
        return [sys.executable, "-P", "-m", "headwater", *words, *place]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        outcome = subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False, env=clean(), timeout=90
        )
        assert not check or outcome.returncode == 0, outcome.stderr
        return outcome

    def start(self, within: float = START_SECONDS) -> None:
        """Start everything and wait until it is ready."""
        began = time.monotonic()
        ports = ["--control-port", "0", "--services-port", "0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command("up", *ports), stdout=log, stderr=log, env=clean())
        wait_for(lambda: self.is_ready() or self.process_ended(), within, "readiness")
        assert not self.process_ended(), self.log.read_text()
        self.starts.append(time.monotonic() - began)

    def is_ready(self) -> bool:
        """Return whether the ``up`` started last says that everything is ready."""
        state = self.state
        return self.process is not None and state.get("pid") == self.process.pid and bool(state["ready"])

    def process_ended(self) -> bool:
        """Return whether ``up`` has ended."""
        return self.process is not None and self.process.poll() is not None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop everything and return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process = None
        return code

    def kill(self) -> None:
        """Kill the supervisor and everything below it, all at once."""
        assert self.process is not None
        supervisor = psutil.Process(self.process.pid)
        for victim in (supervisor, *supervisor.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        self.process.wait()
        self.process = None

    @property
    def state(self) -> dict[str, Any]:
        """Return ``run/up.json``, empty while there is none."""
        try:
            document: dict[str, Any] = json.loads((self.home / "run" / "up.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return document

    @property
    def pids(self) -> dict[str, int]:
        """Return the children's process ids by name."""
        return {name: one["pid"] for name, one in self.state["processes"].items()}

    @property
    def key(self) -> str:
        """Return the key that the first start made."""
        return (self.home / "run" / "demo.key").read_text().strip()

    @property
    def services(self) -> Services:
        """Return the services that run now."""
        return Services(self.state["services_url"], self.key)

    def total(self, sensor: str) -> int:
        """Return what the endpoint says a sensor has sent."""
        return self.services.total(sensor)

    def send(self, sensor: str, rows: int, *, key: str | None = None) -> httpx.Response:
        """Send rows of a sensor."""
        return Services(self.state["services_url"], key or self.key).send(sensor, rows)

    @contextmanager
    def data_plane_alone(self) -> Iterator[Services]:
        """Run services and sealer by themselves, without control."""
        with self.log.open("ab") as log, socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
            probe.close()
            commands = (self.command("serve", "services", "--port", port), self.command("serve", "sealer"))
            processes = [subprocess.Popen(command, stdout=log, stderr=log, env=clean()) for command in commands]
        services = Services(f"http://127.0.0.1:{port}", self.key)
        try:
            wait_for(services.is_ready, START_SECONDS, "readiness")
            yield services
        finally:
            for process in processes:
                process.terminate()
            assert [process.wait(timeout=60) for process in processes] == [0, 0]


def clean() -> dict[str, str]:
    """Return the environment without settings that the shell may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}


def is_running(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def make_system(directory: Path) -> System:
    """Write the tiny project."""
    project = directory / "project"
    for name, text in (("datasets/readings.yaml", DATASET), ("endpoints/totals.sql", ENDPOINT)):
        path = project / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (project / "headwater.toml").write_text('[up]\nafter_start = ["python after_start.py"]\n')
    (project / "after_start.py").write_text(
        "import os, pathlib\n"
        "from headwater.client import Client\n"
        "with Client() as client:\n"
        "    client.ingest('readings', [{'sensor': 'seed', 'n': 1}], idempotency_key='seed')\n"
        "pathlib.Path('seeded').write_text(os.environ['HEADWATER_HOME'])\n"
    )
    return System(directory / "home", project, directory / "up.log")
