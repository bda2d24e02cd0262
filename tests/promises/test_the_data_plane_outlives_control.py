"""Promise: with the control process killed and its database gone, everything is answered as before."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.builders.onnx_models import linear
from tests.builders.processes import free_port
from tests.builders.system import START_SECONDS, Services, System, clean, make_system, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MODEL = """\
name: score
artifact: model.onnx
inputs:
  - {name: a, logicalType: number, required: true}
  - {name: b, logicalType: number, required: true}
outputs:
  - {name: score, type: number}
"""


@dataclass
class Plant:
    """The processes of one home, each run by itself."""

    system: System
    services: Services
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        """Start processes and wait until the services are ready."""
        with self.system.log.open("ab") as log:
            for name in names:
                command = self.system.command("serve", name)
                self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=clean())
        wait_for(self.services.is_ready, START_SECONDS, "readiness")

    def end(self, *names: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal processes and wait for their ends."""
        for name in names:
            self.processes[name].send_signal(number)
        for name in names:
            self.processes.pop(name).wait(60)

    def readiness(self) -> tuple[int, str]:
        """Return what a load balancer is told."""
        with self.services.http() as http:
            reply = http.get("/readyz")
        return reply.status_code, reply.json()["status"]

    @contextmanager
    def without_control(self) -> Iterator[None]:
        """Kill control and take its database away for a while."""
        self.end("control", number=signal.SIGKILL)
        hidden = self.system.home / "hidden"
        hidden.mkdir()
        files = list(self.system.home.glob("control.sqlite3*"))
        assert files
        for file in files:
            file.rename(hidden / file.name)
        yield
        assert not list(self.system.home.glob("control.sqlite3*")), "somebody made a new control database"
        for file in files:
            (hidden / file.name).rename(file)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    system = make_system(tmp_path)
    ports = {"control": free_port(), "services": free_port()}
    settings = "\n".join(f"[{name}]\nport = {port}" for name, port in ports.items())
    (system.project / "headwater.toml").write_text(settings)
    model = system.project / "models" / "score"
    model.mkdir(parents=True)
    (model / "model.yaml").write_text(MODEL)
    (model / "model.onnx").write_bytes(linear([2.0, -0.5], bias=1.0))
    system.run("apply")
    made = json.loads(system.run("keys", "create", "asker", "--role", "owner", "--json").stdout)
    plant = Plant(system, Services(f"http://127.0.0.1:{ports['services']}", made["key"]))
    try:
        plant.start("control", "services", "sealer")
        yield plant
    finally:
        for process in plant.processes.values():
            process.kill()
            process.wait()


def answers(services: Services, tag: str) -> list[tuple[int, Any]]:
    """Ask everything there is to ask; return status and content of each answer, without what is new every time."""
    good = [{"sensor": tag, "n": n} for n in range(4)]
    with services.http() as http:
        send = partial(http.post, "/v1/datasets/readings/rows")
        found = [
            verdict(send(json=good, headers={"Idempotency-Key": tag})),
            verdict(send(json=good, headers={"Idempotency-Key": tag})),
            verdict(send(json=[{"sensor": tag, "n": 5}, {"sensor": tag, "n": -1}, {"n": "x"}])),
            verdict(send(content=f"sensor,n\n{tag},6\n{tag},six\n", headers={"Content-Type": "text/csv"})),
            verdict(send(json=[{"sensor": tag}])),
            verdict(send(content=b"{", headers={"Content-Type": "application/json"})),
            verdict(http.post("/v1/datasets/readings/rows/validate", json=good)),
        ]
        wait_for(lambda: services.total(tag) == 6, 10, "the rows")
        count = "SELECT count(*) AS c FROM readings WHERE sensor = $sensor"
        return [
            *found,
            verdict(http.get("/v1/endpoints/totals", params={"sensor": tag})),
            verdict(http.get("/v1/endpoints/totals", params={"sensr": tag})),
            verdict(http.post("/v1/sql", json={"sql": count, "params": {"sensor": tag}})),
            verdict(http.post("/v1/sql", json={"sql": "DROP TABLE readings"})),
            verdict(http.post("/v1/models/score/predict", json={"rows": [{"a": 3, "b": 4}, {"a": 0, "b": 0}]})),
            verdict(http.post("/v1/models/score/predict", json={"rows": [{"a": "three", "b": 4}]})),
        ]


def verdict(reply: httpx.Response) -> tuple[int, Any]:
    body = reply.json()
    predictions = [one["outputs"] for one in body.get("predictions", ())]
    return reply.status_code, (
        {name: body[name] for name in ("counts", "error_summary", "data", "code", "model", "version") if name in body},
        predictions,
        reply.headers.get("hw-config-version"),
    )


def test_everything_is_answered_as_before_without_control_and_its_database_also_after_restarts(plant: Plant) -> None:
    wait_for(lambda: plant.readiness() == (200, "ready"), 10, "readiness")
    expected = answers(plant.services, "together")
    statuses = [200, 200, 207, 207, 422, 400, 200, 200, 422, 200, 422, 200, 422]
    assert [status for status, _ in expected] == statuses
    assert expected[11][1][1] == [{"score": 5.0}, {"score": 1.0}]

    with plant.without_control():
        wait_for(lambda: plant.readiness() == (200, "degraded"), 10, "the loss being noticed")
        assert answers(plant.services, "alone") == expected
        for number in (signal.SIGTERM, signal.SIGKILL):
            plant.end("services", "sealer", number=number)
            plant.start("services", "sealer")
            assert plant.readiness() == (200, "degraded")
            assert answers(plant.services, f"after_{number.name}") == expected

    plant.start("control")
    wait_for(lambda: plant.readiness() == (200, "ready"), 10, "control being noticed")
    assert answers(plant.services, "together_again") == expected
    for tag in ("together", "alone", "after_SIGTERM", "after_SIGKILL", "together_again"):
        assert plant.services.total(tag) == 6
